"""What the comparisons share: a namespace of their own, programs that run meanwhile, and reports."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

NETSTACK = Path(__file__).resolve().parent.parent / "target/release/netstack"
INSIDE = "NETSTACK_COMPARE_INSIDE"


def go_inside(*flags):
    """Starts this script again, as root in a user and network namespace of its own."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        own = ["--user", "--map-root-user", "--net", *flags]
        os.execvp("unshare", ["unshare", *own, sys.executable, *sys.argv])
    run("ip", "link", "set", "lo", "up")


def run(*command):
    """What a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def program(*command, log, until):
    """A program that runs meanwhile, from the time on at which this is so, or it has printed this."""
    with open(log, "wb") as output:
        # vde_switch ends with its input.
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.PIPE)
    is_ready = until if callable(until) else lambda: until in Path(log).read_text()
    try:
        deadline = time.monotonic() + 10
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)}: {Path(log).read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()


def nginx(folder, port, *before):
    """A server of one small page, with what its command begins with."""
    (folder / "page").write_text("hello\n")
    configuration = folder / f"nginx{port}.conf"
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    configuration.write_text(
        f"daemon off; user root; worker_processes 2; pid {folder}/pid{port}; error_log stderr crit;\n"
        f"events {{}} http {{ access_log off; server {{ listen {port}; root {folder}; }}\n"
        + "".join(f"{kind}_temp_path {folder}/{kind}{port};\n" for kind in temporary) + "}\n")
    command = [*before, "nginx", "-e", "stderr", "-c", str(configuration)]
    # The last thing that it makes before it serves.
    has_started = (folder / f"pid{port}").exists
    return program(*command, log=folder / f"nginx{port}", until=has_started)


def of_iperf3(text):
    """What was received, in Gbit/s, by iperf3's report."""
    report = json.loads(text)
    if "error" in report:
        raise ValueError(report["error"])
    return report["end"]["sum_received"]["bits_per_second"] / 1e9


def of_ab(text):
    """Connections a second by ab's."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if fields["Failed requests"].strip() != "0":
        raise ValueError("failed requests")
    return float(fields["Requests per second"].split()[0])


def measured(report, command):
    """A figure of what a program reports."""
    text = run(*command)
    try:
        return report(text)
    except (ValueError, LookupError) as error:
        sys.exit(f"{' '.join(command)}: no report: {error!r}: {text!r}")
