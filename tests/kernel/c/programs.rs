//! Compiling and running the programs.

use crate::daemon::Failure;
use crate::namespace::{program, skip};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a program runs under.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tool {
    None,
    Valgrind,
}

/// A program, deleted with this.
pub(super) struct Program {
    folder: TempDir,
    libraries: PathBuf,
}

/// Compiles a program of the repository with the library that was built with the tests.
pub(super) fn compile(source: &str) -> Result<Program, Failure> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let libraries = library()?;
    let folder = TempDir::new()?;
    let mut cc = program("cc")?;
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g"]);
    cc.arg("-I").arg(repository.join("capi/include")).arg(repository.join(source));
    cc.arg("-o").arg(folder.path().join("program"));
    cc.arg("-L").arg(&libraries).arg("-lnetstack_c");
    let output = cc.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{source}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Program { folder, libraries })
}

/// The folder of the library, beside the test's own or that of the examples.
fn library() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let built = folders.map(Path::to_owned).filter_map(|folder| {
        let changed = folder.join("libnetstack_c.so").metadata().ok()?.modified().ok()?;
        Some((changed, folder))
    });
    match built.max() {
        Some((_, folder)) => Ok(folder),
        None => Err(skip("libnetstack is not built: run cargo test --workspace").unwrap_err()),
    }
}

pub(super) fn run(compiled: &Program, tool: Tool) -> Result<Command, Failure> {
    let path = compiled.folder.path().join("program");
    let mut command = match tool {
        Tool::None => Command::new(path),
        Tool::Valgrind => {
            let mut valgrind = program("valgrind")?;
            valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
            valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
            valgrind.arg(path);
            valgrind
        }
    };
    command.env("LD_LIBRARY_PATH", &compiled.libraries);
    Ok(command)
}

/// Runs it to its end, which must be a good one; returns its output.
pub(super) fn run_to_end(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{text}{errors}", output.status).into())
}
