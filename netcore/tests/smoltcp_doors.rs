//! Which files may name smoltcp: another engine, or another version of it, is then a change of
//! these and of none else.

use std::fs;
use std::path::Path;

/// The TCP engine and its sockets, the packet formats, time, and devices.
const DOORS: &[&str] = &[
    "netcore/src/device.rs",
    "netcore/src/stack/mod.rs",
    "netcore/src/tcp/engine.rs",
    "netcore/src/tcp/solo.rs",
    "netcore/src/time.rs",
    "netcore/src/wire.rs",
    "netstack/src/wire.rs",
];

#[test]
fn only_these_files_name_smoltcp() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut found = Vec::new();
    for source in ["netcore/src", "netsocket/src", "netstack/src"] {
        collect(root, &root.join(source), &mut found);
    }
    found.sort();
    assert_eq!(found, DOORS);
}

/// Adds the files below `folder` whose code names smoltcp.
fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            if code
                .into_iter()
                .any(|line| line.contains("smoltcp::") || line.contains("use smoltcp"))
            {
                let path = path.strip_prefix(root).expect("below the root");
                found.push(path.display().to_string());
            }
        }
    }
}
