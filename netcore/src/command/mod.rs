//! Commands to a stack and the responses to them, by family.
//!
//! All of it is plain data: it can be logged, counted and generated. `Debug` shows lengths and
//! never payload.

pub mod control;
pub(crate) mod debug;
pub mod icmp;
pub(crate) mod outcome;
pub mod raw;
pub(crate) mod tcp;
pub mod udp;

#[cfg(feature = "udp-lite")]
use crate::udp_lite::command as udp_lite;

/// A command to a stack.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// To the stack as a whole.
    Control(control::Command),
    /// To TCP listeners and connections.
    Tcp(tcp::Command),
    /// To UDP sockets.
    Udp(udp::Command),
    /// To ping sockets.
    Icmp(icmp::Command),
    /// To raw sockets.
    Raw(raw::Command),
    /// To UDP-Lite sockets.
    #[cfg(feature = "udp-lite")]
    UdpLite(udp_lite::Command),
}

/// The response to a successful command.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Response {
    /// Success without further data.
    Done,
    /// From the stack as a whole.
    Control(control::Response),
    /// From a TCP listener or connection.
    Tcp(tcp::Response),
    /// From a UDP socket.
    Udp(udp::Response),
    /// From a ping socket.
    Icmp(icmp::Response),
    /// From a raw socket.
    Raw(raw::Response),
    /// From a UDP-Lite socket.
    #[cfg(feature = "udp-lite")]
    UdpLite(udp_lite::Response),
}

/// Writes the conversions of one family into and out of [`Command`] and [`Response`].
macro_rules! family {
    ($family:ident, $variant:ident) => {
        impl From<$family::Command> for Command {
            fn from(command: $family::Command) -> Self {
                Self::$variant(command)
            }
        }

        impl From<$family::Response> for Response {
            fn from(response: $family::Response) -> Self {
                Self::$variant(response)
            }
        }

        impl TryFrom<Response> for $family::Response {
            type Error = crate::Error;

            /// Fails with [`Error::WrongSocket`](crate::Error::WrongSocket) if the response is of
            /// another family.
            fn try_from(response: Response) -> Result<Self, Self::Error> {
                match response {
                    Response::$variant(response) => Ok(response),
                    _ => Err(crate::Error::WrongSocket),
                }
            }
        }
    };
}

family!(control, Control);
family!(tcp, Tcp);
family!(udp, Udp);
family!(icmp, Icmp);
family!(raw, Raw);
#[cfg(feature = "udp-lite")]
family!(udp_lite, UdpLite);
