//! Switches that the stacks of a process share by name.

use super::{PortConfig, Switch, SwitchConfig, SwitchPort};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The switches that somebody has.
static SWITCHES: Mutex<BTreeMap<String, Weak<Switch>>> = Mutex::new(BTreeMap::new());

impl Switch {
    /// The switch of this name in this process, or a new one with this configuration. It lasts as
    /// long as somebody has it, or a port of it by [`shared_port`](Self::shared_port), as the links
    /// `switch://NAME` do.
    pub fn shared(name: &str, config: SwitchConfig) -> Arc<Self> {
        let mut switches = SWITCHES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(switch) = switches.get(name).and_then(Weak::upgrade) {
            return switch;
        }
        switches.retain(|_, switch| switch.strong_count() > 0);
        let switch = Arc::new(Self::new(config));
        switches.insert(name.to_owned(), Arc::downgrade(&switch));
        switch
    }

    /// Adds a port for a stack, which keeps the switch.
    ///
    /// # Errors
    ///
    /// As [`port`](Self::port).
    pub fn shared_port(self: &Arc<Self>, config: PortConfig) -> io::Result<SwitchPort> {
        Ok(self.port(config)?.keeping(self.clone()))
    }
}
