//! WebSockets: tokio-tungstenite on both sides.

use super::{FAR, connect, pair};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tests::{all_is_gone, noise};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

#[tokio::test(start_paused = true)]
async fn messages_of_all_kinds_come_back_and_the_end_is_agreed_on() {
    let (near, far) = pair();
    for host in FAR {
        let (client, server) = connect(&near, &far, host).await;
        let server = tokio::spawn(async move {
            let mut socket = accept_async(server).await?;
            while let Some(message) = socket.next().await.transpose()? {
                // Pings and the end are answered by the crate.
                if message.is_text() || message.is_binary() {
                    socket.send(message).await?;
                }
            }
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        });
        let (mut client, response) =
            client_async(format!("ws://{host}/chat"), client).await.expect("a server");
        assert_eq!(response.status(), 101);

        let (ping, pong) = (Bytes::from("are you there"), Bytes::from("are you there"));
        for (sent, expected) in [
            (Message::text("hello"), Message::text("hello")),
            (Message::binary(noise(1_000_000)), Message::binary(noise(1_000_000))),
            (Message::Ping(ping), Message::Pong(pong)),
        ] {
            client.send(sent).await.expect("open");
            let answer = client.next().await.expect("an answer").expect("a message");
            assert!(answer == expected);
        }
        client.close(None).await.expect("open");
        while let Some(message) = client.next().await {
            assert!(message.expect("in good order").is_close());
        }
        server.await.expect("no panic").expect("in good order");
    }
    all_is_gone([&near, &far]).await;
}
