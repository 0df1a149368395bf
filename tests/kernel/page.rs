//! `netstack page` in a browser.

use crate::browser::Browser;
use crate::daemon::{Daemon, Failure};
use crate::namespace::{Outcome, example, netstack, program, skip};
use crate::programs::output;
use crate::seeing::{Client, ENDLESS, World};
use crate::vde::Switch;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// The page of a web server.
fn page(world: &World) -> Result<(Daemon, String), Failure> {
    output(program("ip")?.args(["link", "set", "lo", "up"]))?;
    let page = Daemon::start(&mut world.command(&["page", "--interval", "0.2"])?)?;
    let address = page.expect_output("http://127.0.0.1:")?;
    Ok((page, address))
}

/// The text of the row of a client.
fn row(client: &Client) -> String {
    let row = format!("it => it.innerText.includes('{}')", client.address);
    format!("([...document.querySelectorAll('#rows .row')].find({row})?.innerText ?? '')")
}

/// The causes that the clients are, numbers that move, and a connection that is killed.
pub(crate) fn clients() -> Outcome {
    program("chromium")?;
    let world = World::new()?;
    let (_page, address) = page(&world)?;
    let fast = Client::connect(None)?.request(ENDLESS)?.reading()?;
    let slow = Client::connect(None)?.request(ENDLESS)?;
    let idle = Client::connect(None)?;
    let mut browser = Browser::open(&address, 1200)?;

    browser.wait_until("document.getElementById('connections')?.textContent === '3'")?;
    browser.wait_until("document.getElementById('name').textContent === 'httpd'")?;
    browser.wait_until(&format!("{}.includes('peer window')", row(&slow)))?;
    browser.wait_until(&format!("{}.includes('idle')", row(&idle)))?;
    browser.wait_until(&format!("/bit\\/s/.test({})", row(&fast)))?;
    let link = browser.value("document.getElementById('link').textContent")?;
    assert!(link.as_str().is_some_and(|text| text.contains("Link up, MTU")), "{link}");
    let text = browser.value("document.getElementById('addresses').innerText")?;
    assert!(text.as_str().is_some_and(|text| text.contains("10.9.0.2/24")), "{text}");
    // Not in the history, nor in what is copied from the address bar.
    assert_eq!(browser.value("location.hash")?, "");

    // Two values of the rate, one after the other.
    let out = "document.getElementById('out').textContent";
    let before = browser.value(out)?;
    browser.wait_until(&format!("{out} !== {before}"))?;
    // A narrow window scrolls down, and not to the side.
    browser.resize(360)?;
    browser.wait_until("document.documentElement.scrollWidth === 360")?;
    browser.resize(1200)?;

    let choose = format!("it => it.innerText.includes('{}')", slow.address);
    let open = format!("[...document.querySelectorAll('#rows .row')].find({choose}).click()");
    browser.value(&open)?;
    browser.wait_until("document.getElementById('why').textContent.includes('does not read')")?;
    browser.value("document.getElementById('kill').click()")?;
    assert_eq!(browser.value(&format!("{} !== ''", row(&slow)))?, true, "it asks once more");
    browser.value("document.getElementById('kill').click()")?;
    browser.wait_until(&format!("{} === ''", row(&slow)))?;
    browser.wait_until("document.getElementById('connections').textContent === '2'")?;
    let mut stream = &slow.stream;
    let deadline = Instant::now() + Duration::from_secs(30);
    // What had arrived before can be read.
    let end = loop {
        match stream.read(&mut [0; 65_536]) {
            Ok(n) if n > 0 && Instant::now() < deadline => {}
            other => break other,
        }
    };
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    Ok(())
}

/// For each of these clients what the page says of it.
pub(crate) fn causes(world: &World, clients: &[(&Client, &[&str])]) -> Outcome {
    let (_page, address) = page(world)?;
    let mut browser = Browser::open(&address, 1200)?;
    for (client, words) in clients {
        browser.wait_until(&format!("{} !== ''", row(client)))?;
        let chosen = format!("it => it.innerText.includes('{}')", client.address);
        browser.value(&format!(
            "[...document.querySelectorAll('#rows .row')].find({chosen}).click()"
        ))?;
        for word in *words {
            let said = "document.getElementById('why').textContent";
            browser.wait_until(&format!("{said}.includes({})", Value::from(*word)))?;
        }
        browser.value("document.getElementById('close').click()")?;
    }
    Ok(())
}

/// Ten thousand connections, of which the page has but those on the screen.
pub(crate) fn many() -> Outcome {
    const CONNECTIONS: usize = 10_000;
    program("chromium")?;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < CONNECTIONS as u64 + 200) {
        return skip(&format!("a process may have {maximum:?} descriptors alone"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let world = World::new()?;
    let (_page, address) = page(&world)?;
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| Client::connect(None)).collect::<Result<_, Failure>>()?;
    let mut browser = Browser::open(&address, 1200)?;
    let rows = "document.querySelectorAll('#rows .row').length";

    browser.wait_until("document.getElementById('connections')?.textContent === '10,000'")?;
    browser.wait_until(&format!("{rows} > 10"))?;
    let made = browser.value(rows)?.as_u64();
    assert!(made.is_some_and(|made| made < 100), "{made:?}");
    let answer =
        "fetch('state?rows=99999', { headers }).then(it => it.text()).then(it => it.length)";
    let length = browser.value(answer)?.as_u64();
    assert!(
        length.is_some_and(|it| it < 256 * 1024),
        "{length:?} bytes for all that are asked for"
    );
    // Sorted by age, the other way, the last one is the oldest.
    browser.value(
        "for (const i of [1, 2]) document.querySelector('#head .cell-age button').click()",
    )?;
    browser.value("document.getElementById('rows').scrollTop = 1e9")?;
    browser.wait_until(&format!("{} !== ''", row(&clients[0])))?;
    assert!(browser.value(rows)?.as_u64().is_some_and(|made| made < 100));

    let (find, port) = ("document.getElementById('find')", clients[6170].address.port());
    browser.value(&format!(
        "{find}.value = ':{port}'; {find}.dispatchEvent(new Event('input')); true"
    ))?;
    browser.wait_until("document.getElementById('found').textContent === '1 of 10,000'")?;
    browser.wait_until(&format!("{} !== ''", row(&clients[6170])))?;
    assert_eq!(browser.value(rows)?, Value::from(1));
    Ok(())
}

/// The port of a web server on a switch of ours, and on Debian's.
pub(crate) fn switch() -> Outcome {
    program("chromium")?;
    program("vde_switch")?;
    output(program("ip")?.args(["link", "set", "lo", "up"]))?;
    let ours = Switch::ours(&[])?;
    ports(&ours.url(), &ours.management())?;
    talks(&ours.url(), &ours.management())?;
    let debians = Switch::debians()?;
    ports(&debians.url(), &debians.management())
}

fn ports(url: &str, management: &Path) -> Outcome {
    let folder = tempfile::TempDir::new()?;
    let control = folder.path().join("httpd");
    let mut httpd = example("httpd")?;
    httpd.args(["--link", url, "--address", "10.9.0.2/24"]).arg("--control").arg(&control);
    let httpd = Daemon::start(&mut httpd)?;
    httpd.expect_output("serving http on")?;
    let mut page = netstack()?;
    page.arg("page").arg("--control").arg(&control).arg("--switch").arg(management);
    let page = Daemon::start(&mut page)?;
    let mut browser = Browser::open(&page.expect_output("http://127.0.0.1:")?, 1200)?;

    browser.wait_until("document.querySelectorAll('#ports tbody tr').length === 1")?;
    let port = "document.querySelector('#ports tbody').innerText";
    browser.wait_until(&format!("/^[01]: .*httpd/.test({port})"))?;
    let own = "document.getElementById('link').textContent.match(/([0-9a-f]{2}:){5}[0-9a-f]{2}/)";
    browser.wait_until(&format!("{port}.includes({own}?.[0] ?? 'none')"))?;
    browser.resize(360)?;
    browser.wait_until("document.documentElement.scrollWidth === 360")
}

/// Two stacks that talk, on the page of a switch without a stack of its own.
fn talks(url: &str, management: &Path) -> Outcome {
    let mut httpd = example("httpd")?;
    let httpd = Daemon::start(httpd.args(["--link", url, "--address", "10.9.0.2/24"]))?;
    httpd.expect_output("serving http on")?;
    let mut page = netstack()?;
    page.env("NETSTACK_CONTROL", "").env("XDG_RUNTIME_DIR", "/nonexistent");
    page.args(["page", "--interval", "0.2", "--switch"]).arg(management);
    let page = Daemon::start(&mut page)?;
    let mut browser = Browser::open(&page.expect_output("http://127.0.0.1:")?, 1200)?;
    browser.wait_until("document.getElementById('name').textContent === 'Switch'")?;
    browser.wait_until("document.getElementById('connections').offsetParent === null")?;
    let pairs = "document.querySelectorAll('#pairs tbody tr').length";
    assert_eq!(browser.value(pairs)?, 0, "nobody talks yet");

    let mut ping = netstack()?;
    let _ping =
        Daemon::start(ping.args(["ping", "--link", url, "--address", "10.9.0.3/24"]).args([
            "--count",
            "65535",
            "--interval",
            "0.1",
            "10.9.0.2",
        ]))?;
    browser.wait_until(&format!("{pairs} === 2"))?;
    let texts = "[...document.querySelectorAll('#pairs tbody tr')].map(it => it.innerText)";
    browser.wait_until(&format!("{texts}.every(it => /httpd/.test(it) && /netstack/.test(it))"))?;
    let talked = browser.value(texts)?;
    browser.wait_until(&format!("{texts}.join() !== {talked}.join()"))?;
    browser.resize(360)?;
    browser.wait_until("document.documentElement.scrollWidth === 360")
}
