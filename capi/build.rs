//! Gives the shared library its soname.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The interface may change with each minor version before 1.0; cargo-c says so, too, by
    // `version_suffix_components`.
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnetstack.so.{major}.{minor}");
}
