//! t
#[test]
fn random() {
    let mut x = 88172645463325252u64;
    let start = std::time::Instant::now();
    let mut n = 0;
    while start.elapsed().as_secs() < 15 {
        let mut bytes = vec![];
        for _ in 0..150 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes.push((x >> 24) as u8);
        }
        std::fs::write("/tmp/t-fuzz/last", &bytes).unwrap();
        connmgr_fuzz::interleave(&bytes);
        n += 1;
    }
    println!("{n} in {:?}", start.elapsed());
}

#[test]
fn ops() {
    let mut x = 88172645463325252u64;
    let start = std::time::Instant::now();
    let mut n = 0;
    while start.elapsed().as_secs() < 10 {
        let mut bytes = vec![];
        for _ in 0..400 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes.push((x >> 24) as u8);
        }
        connmgr_fuzz::ops(&bytes);
        n += 1;
    }
    println!("{n} in {:?}", start.elapsed());
}

#[test]
fn policy() {
    let mut x = 88172645463325252u64;
    let start = std::time::Instant::now();
    let mut n = 0;
    while start.elapsed().as_secs() < 10 {
        let mut bytes = vec![];
        for _ in 0..400 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes.push((x >> 24) as u8);
        }
        connmgr_fuzz::policy(&bytes);
        n += 1;
    }
    println!("{n} in {:?}", start.elapsed());
}
