//! Where connections that open and close are told.

use std::hash::Hash;

use super::BasicConnManager;
use crate::connection::Connection;

/// The entry points for connections that open and close: [`BasicConnManager::connected`] and
/// [`BasicConnManager::disconnected`] by themselves, to be handed to whoever watches connections.
#[derive(Debug)]
pub struct Notifee<'m, P: Send + Sync + 'static, C: Connection>(&'m BasicConnManager<P, C>);

impl<P: Send + Sync + 'static, C: Connection> Clone for Notifee<'_, P, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Send + Sync + 'static, C: Connection> Copy for Notifee<'_, P, C> {}

impl<'m, P, C> Notifee<'m, P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    pub(super) fn new(manager: &'m BasicConnManager<P, C>) -> Self {
        Self(manager)
    }

    /// See [`BasicConnManager::connected`].
    pub fn connected(&self, peer: &P, conn: C) {
        self.0.connected(peer, conn);
    }

    /// See [`BasicConnManager::disconnected`].
    pub fn disconnected(&self, peer: &P, conn: &C::Id) {
        self.0.disconnected(peer, conn);
    }
}
