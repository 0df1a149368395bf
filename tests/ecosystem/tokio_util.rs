//! tokio-util's codecs. Its `UdpFramed` takes nothing but tokio's own `UdpSocket`.

use super::{FAR, connect, pair};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tests::{all_is_gone, noise};
use tokio_util::codec::{Framed, FramedRead, FramedWrite, LengthDelimitedCodec, LinesCodec};

#[tokio::test(start_paused = true)]
async fn lines_come_as_they_were_sent() {
    let (near, far) = pair();
    for host in FAR {
        let (client, server) = connect(&near, &far, host).await;
        let (mut client, server) =
            (Framed::new(client, LinesCodec::new()), Framed::new(server, LinesCodec::new()));
        let echo = tokio::spawn(async move {
            let (to, from) = server.split();
            from.map_ok(|line| line.to_uppercase()).forward(to).await
        });

        for index in 0..100 {
            client.send(format!("line {index}")).await.expect("open");
            let line = client.next().await.expect("an answer").expect("text");
            assert_eq!(line, format!("LINE {index}"));
        }

        drop(client);
        echo.await.expect("no panic").expect("in good order");
    }
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn frames_of_all_lengths_come_whole() {
    let (near, far) = pair();
    let (client, server) = connect(&near, &far, "10.0.0.2").await;
    let (_, to) = client.into_split();
    let (from, to_client) = server.into_split();
    let data = Bytes::from(noise(1_000_000));
    let frames: Vec<Bytes> =
        [0, 1, 2, 1459, 1460, 1461, 65_535, 1_000_000].map(|len| data.slice(..len)).into();

    let sent = futures::stream::iter(frames.clone()).map(Ok);
    let sending = tokio::spawn(sent.forward(FramedWrite::new(to, LengthDelimitedCodec::new())));
    let from = FramedRead::new(from, LengthDelimitedCodec::new());
    let received: Vec<_> = from.try_collect().await.expect("whole");

    assert!(received == frames, "{} frames", received.len());
    sending.await.expect("no panic").expect("open");
    drop(to_client);
    all_is_gone([&near, &far]).await;
}
