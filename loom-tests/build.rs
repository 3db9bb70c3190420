//! Sets our own cfgs for this package alone: no global flag reaches the dependencies.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=connmgr_loom");
    // Faults can be injected into the models by `CONNMGR_MUTANT=name`, with no build of their own.
    println!("cargo::rustc-cfg=connmgr_mutants");
}
