//! Sets our own cfgs for this package alone: no global flag reaches the dependencies.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONNMGR_MUTANT");
    println!("cargo::rustc-cfg=connmgr_shuttle");
    if let Ok(name) = std::env::var("CONNMGR_MUTANT") {
        println!("cargo::rustc-cfg=connmgr_mutant=\"{name}\"");
    }
}
