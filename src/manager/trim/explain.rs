//! Why a trim would close a peer or not, by the code that decides it.

use std::hash::Hash;
use std::time::Duration;

use super::Inner;
use super::choose::{Basis, Facts};
use crate::connection::{Connection, Entry};
use crate::index::Indexed;
use crate::manager::BasicConnManager;
use crate::manager::settings::GracePer;
use crate::manager::time::nanos;
use crate::report::{Exemption, Explanation, Standing, TrimTrigger};
use crate::snapshot::{Cut, PeerAt};

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// How `peer` stands with the next [`trim_open_conns`](Self::trim_open_conns), if it ran now; `None` if the peer is unknown, or had
    /// nothing but tags that have decayed away.
    ///
    /// The same code as the trim's, and so O(peers): the peer's place is one among all.
    ///
    /// # Examples
    ///
    /// ```
    /// use connmgr::{BasicConnManager, testing::Loopback};
    /// use std::time::Duration;
    ///
    /// let manager = BasicConnManager::<&str, Loopback>::builder()
    ///     .low_water(1).high_water(2).grace_period(Duration::ZERO).background(false)
    ///     .build()?;
    /// for (id, peer) in ["alice", "bob", "carol"].into_iter().enumerate() {
    ///     manager.connected(&peer, Loopback::inbound(id as u64));
    ///     manager.tag_peer(&peer, "score", id as i64);
    /// }
    /// manager.protect(&"bob", "bootstrap");
    /// let why = |peer| manager.explain(&peer).unwrap().to_string();
    /// assert!(why("alice").starts_with("alice: value 0, 1 connection; candidate 1 of 2, rank (0,"));
    /// assert!(why("alice").ends_with("would be closed") && why("carol").ends_with("would be kept"));
    /// assert_eq!(why("bob"), r#"bob: value 1, 1 connection; exempt: protected under "bootstrap""#);
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the policy does.
    ///
    /// # Progress
    ///
    /// Waits for nobody.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot.
    #[must_use]
    pub fn explain(&self, peer: &P) -> Option<Explanation<P>> {
        self.inner.explain(|known| known == peer).pop()
    }

    /// [`explain`](Self::explain) of every peer, by one snapshot: the candidates, first to go first, then the others, lower value first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, testing::Loopback};
    /// # let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
    /// manager.connected(&7, Loopback::inbound(1));
    /// for explanation in manager.explain_all() {
    ///     println!("{explanation}"); // 7: value 0, 1 connection; exempt: in grace for 59.99s
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If the policy does.
    ///
    /// # Progress
    ///
    /// Waits for nobody.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot.
    #[must_use]
    pub fn explain_all(&self) -> Vec<Explanation<P>> {
        self.inner.explain(|_| true)
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// The standing of those peers that are `wanted`.
    fn explain(&self, wanted: impl Fn(&P) -> bool) -> Vec<Explanation<P>> {
        let settings = self.settings.load_full();
        let cut = Cut::take(&self.table);
        let basis = self.basis(&settings, TrimTrigger::Explicit);
        let mut exempt = Vec::new();
        let mut choice = self.choose(&cut, &basis, |at, candidate| {
            if !candidate && basis.appraiser.finds(&at) && wanted(at.node.key()) {
                exempt.push((basis.value(&at), at.node.hash(), at));
            }
        });
        exempt.sort_unstable_by_key(|&(value, tie, _)| (value, tie));
        let (closed, of) = (choice.choose_all(), choice.order.len());
        let order = &mut choice.order;
        let ranked =
            std::iter::from_fn(|| order.next().map(|next| (order.rank(next), *order.at(next)))).enumerate();
        let candidates = ranked.filter_map(|(place, (rank, Facts { node, links, value, connections }))| {
            let standing = || Standing::Candidate { place, of, rank, connections, closes: place < closed };
            wanted(node.key()).then(|| explanation(node.key(), links.open().count(), value, standing()))
        });
        let exempt = exempt.iter().map(|(value, _, at)| {
            explanation(
                at.node.key(),
                at.links.open().count(),
                *value,
                Standing::Exempt(self.exemptions(at, &basis)),
            )
        });
        candidates.chain(exempt).collect()
    }

    /// Why a peer is no candidate: each reason there is.
    fn exemptions(&self, at: &PeerAt<'_, P, Entry<C>>, basis: &Basis<'_>) -> Vec<Exemption> {
        let (links, settings) = (at.links, basis.settings);
        let left = |since: u64, period| {
            Duration::from_nanos(since.saturating_add(nanos(period)).saturating_sub(basis.appraiser.now))
        };
        let mut reasons = Vec::new();
        if links.is_protected() {
            let names = links.protections().iter().map(|&tag| self.names.name(tag).to_string());
            reasons.push(Exemption::Protected { under: names.collect() });
        }
        let grace = left(links.first_seen(), settings.grace_period);
        match links.open().map(|conn| conn.opened()).min() {
            Some(opened) => {
                let grace = match settings.grace_per {
                    GracePer::Peer => grace,
                    GracePer::Connection => left(opened, settings.grace_period),
                };
                if !grace.is_zero() {
                    reasons.push(Exemption::InGrace { left: grace });
                }
            }
            None if links.is_connected() => reasons.push(Exemption::Closing),
            None if !links.is_away(at.state) => reasons.push(Exemption::NoConnection),
            None if links.has_left() => {
                reasons.push(Exemption::Left { left: left(links.first_seen(), settings.keep_tags) });
            }
            None => {
                let left = (!links.is_protected()).then_some(grace);
                reasons.push(Exemption::Temporary { left });
            }
        }
        reasons
    }
}

fn explanation<P: Clone>(peer: &P, connections: usize, value: i64, standing: Standing) -> Explanation<P> {
    Explanation { peer: peer.clone(), value, connections, standing }
}
