//! Links by URL: one way to name a device in a flag or a configuration file.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use netstack::{Builder, link::LinkUrl};
//!
//! let url: LinkUrl = std::env::args().nth(1).ok_or("no link")?.parse()?;
//! let stack = Builder::new().address("10.0.0.2/24".parse()?).spawn(url.open()?)?;
//! # Ok(())
//! # }
//! ```

mod device;
mod overlay;
mod syntax;
mod url;
mod vde;

pub use device::{LinkDevice, LinkSlot};
pub use syntax::LinkUrlError;
pub use url::LinkUrl;
