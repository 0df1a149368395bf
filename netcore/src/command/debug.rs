//! `Debug` of commands and responses: payloads are logged as their lengths, never as their bytes.

use bytes::Bytes;
use std::fmt;

/// A payload that shows its length only.
pub(crate) struct Payload<'a>(pub(crate) &'a Bytes);

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Implements `Debug` for an enum as `derive` does, except that fields after a semicolon are
/// payloads. Variants that are tuples of one follow the braces.
macro_rules! debug_without_payload {
    ($type:ty {
        $($variant:ident { $($field:ident),* $(; $payload:ident)? },)*
    } $($tuple:ident)*) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant { $($field,)* $($payload)? } => f
                        .debug_struct(stringify!($variant))
                        $(.field(stringify!($field), $field))*
                        $(.field(stringify!($payload), &$crate::command::debug::Payload($payload)))?
                        .finish(),)*
                    $(Self::$tuple(inner) => {
                        f.debug_tuple(stringify!($tuple)).field(inner).finish()
                    })*
                }
            }
        }
    };
}

pub(crate) use debug_without_payload;

#[cfg(test)]
mod tests {
    use crate::command::{tcp, udp};

    #[test]
    fn debug_shows_the_length_of_a_payload() {
        let datagram = udp::Command::Send {
            endpoint: "1.2.3.4:5".parse().expect("an address"),
            buf: bytes::Bytes::from_static(b"secret"),
        };

        let shown = [
            format!("{datagram:?}"),
            format!("{:?}", tcp::Response::Received { buf: "secret".into() }),
            format!("{:?}", tcp::Command::Recv { max_len: Some(7) }),
            format!("{:?}", tcp::Command::Accept),
        ];

        let expected = [
            "Send { endpoint: 1.2.3.4:5, buf: 6 bytes }",
            "Received { buf: 6 bytes }",
            "Recv { max_len: Some(7) }",
            "Accept",
        ];
        assert_eq!(shown, expected);
        let options = tcp::Command::SetOptions(Box::default());
        assert!(format!("{options:?}").starts_with("SetOptions(Options { nodelay: false"));
    }
}
