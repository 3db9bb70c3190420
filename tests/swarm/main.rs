//! The behaviour in real swarms, over memory and the loopback interface.

mod denials;
mod keep_alive;
mod limits;
mod net;
mod sharing;
mod slow;
mod streams;
mod trims;
mod turns;
