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

/// How a program has the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linking {
    Shared,
    Static,
}

/// A program, deleted with this.
pub(super) struct Program {
    folder: TempDir,
    libraries: PathBuf,
}

/// Compiles a program of the repository with the library that was built with the tests.
pub(super) fn compile(source: &str) -> Result<Program, Failure> {
    let repository = repository();
    let folder = TempDir::new()?;
    let prefix = install(&folder)?;
    let libraries = prefix.join("lib");
    let mut cc = program("cc")?;
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g"]);
    cc.arg("-I").arg(prefix.join("include")).arg(repository.join(source));
    cc.arg("-o").arg(folder.path().join("program"));
    cc.arg("-L").arg(&libraries).arg("-lnetstack");
    finish(&mut cc)?;
    Ok(Program { folder, libraries })
}

/// Compiles a program with what pkg-config says of the library.
pub(super) fn compile_by_pkg_config(source: &str, linking: Linking) -> Result<Program, Failure> {
    let folder = TempDir::new()?;
    let libraries = install(&folder)?.join("lib");
    let mut pkg_config = program("pkg-config")?;
    pkg_config.env("PKG_CONFIG_PATH", libraries.join("pkgconfig"));
    let mut cc = program("cc")?;
    if linking == Linking::Static {
        pkg_config.arg("--static");
        cc.arg("-static");
    }
    let flags = finish(pkg_config.args(["--cflags", "--libs", "netstack"]))?;
    cc.arg(repository().join(source)).arg("-o").arg(folder.path().join("program"));
    finish(cc.args(flags.split_whitespace()))?;
    Ok(Program { folder, libraries })
}

/// Installs the library that was built with the tests; returns the prefix.
fn install(folder: &TempDir) -> Result<PathBuf, Failure> {
    let prefix = folder.path().join("usr");
    let mut install = Command::new(repository().join("bin/install-c"));
    finish(install.arg(&prefix).arg(library()?).env_remove("DESTDIR"))?;
    Ok(prefix)
}

/// Runs a program to its end, which must be a good one; returns its output.
fn finish(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {errors}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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
