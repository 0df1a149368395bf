//! Linux in a virtual machine of QEMU's, emulated, so that no KVM is needed.

mod archive;
pub(super) mod links;

use crate::daemon::{Daemon, Failure};
use crate::namespace::{program, skip};
use archive::Archive;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Failure>;

/// The folder with `boot/vmlinuz-*` and `lib/modules`, as in Debian's package.
const KERNEL: &str = "NETSTACK_TEST_GUEST_KERNEL";
/// What the kernel of Debian's cloud image has as modules, in the order of their dependencies.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];
/// A machine that is emulated boots in some seconds of processor time: beside ten busy programs that is
/// minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// The guest up to its network.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /tmp /proc /sys
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod $module; done
ip link set lo up
ip link set eth0 up
echo guest is up
";

/// A virtual machine, until it is dropped.
pub(super) struct Guest {
    pub(super) console: Daemon,
    _folder: TempDir,
}

impl Guest {
    /// Boots one with this network device, and runs a script of busybox's in it.
    pub(super) fn boot(netdev: &str, script: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let archive = folder.path().join("initramfs");
        let kernel = kernel()?;
        fs::write(&archive, initramfs(&kernel, script)?)?;
        let mut qemu = program("qemu-system-x86_64")?;
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "192", "-smp", "1"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(image(&kernel)?).arg("-initrd").arg(&archive);
        // Its check of the timer fails on a busy machine.
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on"]);
        qemu.args(["-netdev", netdev]);
        // Without a program of the card's for booting, which takes seconds.
        qemu.args(["-device", "virtio-net-pci,netdev=n,mac=52:54:00:12:34:56,romfile="]);
        let mut console = Daemon::start(&mut qemu)?;
        console.patience = PATIENCE;
        Ok(Self { console, _folder: folder })
    }
}

fn kernel() -> Result<PathBuf> {
    match env::var_os(KERNEL) {
        Some(folder) => Ok(folder.into()),
        None => {
            let reason = format!("{KERNEL} is not the folder of a guest's kernel");
            Err(skip(&reason).unwrap_err())
        }
    }
}

fn image(kernel: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(kernel.join("boot"))?.flatten().map(|entry| entry.path());
    let is_image = |path: &PathBuf| path.display().to_string().contains("/vmlinuz-");
    Ok(files.into_iter().find(is_image).ok_or("no boot/vmlinuz-* in the kernel's folder")?)
}

/// busybox, the modules and the script.
fn initramfs(kernel: &Path, script: &str) -> Result<Vec<u8>> {
    let busybox = program("busybox")?;
    let versions = fs::read_dir(kernel.join("lib/modules"))?.flatten().next();
    let modules = versions.ok_or("no version in lib/modules")?.path().join("kernel");
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules"] {
        archive.folder(folder);
    }
    archive.console("dev/console");
    archive.program("bin/busybox", &fs::read(busybox.get_program())?);
    for (number, module) in MODULES.iter().enumerate() {
        archive.program(&format!("modules/{number}"), &fs::read(modules.join(module))?);
    }
    archive.program("init", format!("{INIT}{script}\npoweroff -f\n").as_bytes());
    Ok(archive.end())
}
