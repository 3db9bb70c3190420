//! What the examples' command lines have in common: a number in a range, and words for the person who typed something else.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The exit status of a command line that cannot be run.
pub const BAD_ARGUMENTS: u8 = 2;

/// A command line that cannot be run, in words for the person who typed it.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgsError(pub String);

impl Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for ArgsError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// The value of `option`, a whole number in `range`.
pub fn number<T: FromStr + PartialOrd + Display>(
    parser: &mut lexopt::Parser,
    option: &str,
    range: RangeInclusive<T>,
) -> Result<T, ArgsError> {
    let value = parser.value()?;
    let number: T = value
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ArgsError(format!("{option}: {value:?} is not a whole number")))?;
    if !range.contains(&number) {
        let (least, most) = range.into_inner();
        return Err(ArgsError(format!("{option}: {number} is out of range ({least} to {most})")));
    }
    Ok(number)
}
