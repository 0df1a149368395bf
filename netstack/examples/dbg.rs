use netstack::Pair;
use std::time::{Duration, Instant};
fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(async move {
            let (near, far) = Pair::new().spawn().unwrap();
            let listener = far.net().tcp_listen("10.0.0.2:80").await.unwrap();
            tokio::spawn(async move { while listener.accept().await.is_ok() {} });
            let start = Instant::now();
            let mut hist = std::collections::BTreeMap::new();
            let mut n = 0;
            while start.elapsed() < Duration::from_secs(8) && n < 16000 {
                n += 1;
                let t = Instant::now();
                drop(near.net().tcp_connect("10.0.0.2:80").await.unwrap());
                if t.elapsed() > Duration::from_millis(5) {
                    println!("{n}: {:?}", t.elapsed());
                }
                *hist.entry((t.elapsed().as_micros() as f64).log2() as u32).or_insert(0) += 1;
            }
            println!("{hist:?}");
            println!("{}", near.net().snapshot().await.unwrap());
            println!("{}", far.net().snapshot().await.unwrap());
        })
        .await
        .unwrap();
    });
}
