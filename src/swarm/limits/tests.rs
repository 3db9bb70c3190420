//! The account against a model of it, over random lives of connections.

use std::net::{IpAddr, Ipv4Addr};

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;

const PEERS: usize = 3;
const NETS: u8 = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A connection begins, from an address.
    Begin { outbound: bool, net: u8 },
    /// A pending one is authenticated.
    Authenticate { which: usize, peer: usize },
    /// A pending one fails.
    Fail { which: usize },
    /// The manager closes an established one.
    Close { which: usize },
    /// An established one ends.
    End { which: usize },
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let which = usize::arbitrary(g);
        match u8::arbitrary(g) % 8 {
            0..=2 => Self::Begin { outbound: bool::arbitrary(g), net: u8::arbitrary(g) % NETS },
            3..=4 => Self::Authenticate { which, peer: usize::arbitrary(g) % PEERS },
            5 => Self::Fail { which },
            6 => Self::Close { which },
            _ => Self::End { which },
        }
    }
}

/// Caps from 0 to 4; any of them may be off.
#[derive(Clone, Copy, Debug)]
struct Caps {
    pending: [Option<u32>; 2],
    established: [Option<u32>; 2],
    total: Option<u32>,
    peer: Option<u32>,
    net: Option<u32>,
    overshoot: Option<u32>,
}

impl Arbitrary for Caps {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut cap = || bool::arbitrary(g).then(|| u32::arbitrary(g) % 5);
        Self {
            pending: [cap(), cap()],
            established: [cap(), cap()],
            total: cap(),
            peer: cap(),
            net: cap(),
            overshoot: cap(),
        }
    }
}

impl Caps {
    fn limits(self) -> Limits {
        Limits {
            pending_inbound: self.pending[0],
            pending_outbound: self.pending[1],
            established_inbound: self.established[0],
            established_outbound: self.established[1],
            established: self.total,
            per_peer: self.peer,
            trim_to_admit: self.overshoot,
            ipv4_subnets: self.net.map(|cap| (24, cap)).into_iter().collect(),
            ..Limits::default()
        }
    }

    /// Whether one more may come where `held` are and `closing` of them are on their way out.
    fn allows(self, cap: Option<u32>, held: usize, closing: usize) -> bool {
        let Some(cap) = cap.map(|cap| cap as usize) else { return true };
        match self.overshoot {
            Some(overshoot) => held - closing < cap && held < cap + overshoot as usize,
            None => held < cap,
        }
    }
}

struct Begun {
    pending: Pending,
    outbound: bool,
    net: Option<u8>,
}

struct Established {
    place: Place,
    subnet: Option<Subnet>,
    direction: Direction,
    peer: usize,
    net: Option<u8>,
    closing: bool,
}

fn direction(outbound: bool) -> Direction {
    if outbound { Direction::Outbound } else { Direction::Inbound }
}

fn address(net: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, net, 1).into()
}

/// Takes one of several out, if there are any.
fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

fn agrees(caps: Caps, ops: Vec<Op>) -> bool {
    let admission = Admission::new(caps.limits()).expect("valid limits");
    let manager = Manager::builder().background(false).build().expect("a valid configuration");
    let peers: Vec<PeerId> = (0..PEERS).map(|_| PeerId::random()).collect();
    let (mut pending, mut established) = (Vec::<Begun>::new(), Vec::<Established>::new());
    for op in ops {
        let in_net = |pending: &[Begun], established: &[Established], net: u8| {
            let waiting = pending.iter().filter(|one| one.net == Some(net)).count();
            waiting + established.iter().filter(|one| one.net == Some(net)).count()
        };
        let below = |cap: Option<u32>, held: usize| cap.is_none_or(|cap| held < cap as usize);
        match op {
            Op::Begin { outbound, net } => {
                let net = (!outbound).then_some(net);
                let remote = net.map(|net| Multiaddr::from(address(net)));
                let waiting = pending.iter().filter(|one| one.outbound == outbound).count();
                let room = below(caps.pending[usize::from(outbound)], waiting)
                    && net.is_none_or(|net| below(caps.net, in_net(&pending, &established, net)));
                let begun = admission.begin(direction(outbound), remote.as_ref());
                assert_eq!(begun.is_ok(), room, "{op:?}: {begun:?}");
                pending.extend(begun.ok().map(|pending| Begun { pending, outbound, net }));
            }
            Op::Authenticate { which, peer } => {
                let Some(Begun { pending: begun, outbound, net }) = take(&mut pending, which) else {
                    continue;
                };
                let count =
                    |of: &dyn Fn(&Established) -> bool| established.iter().filter(|one| of(one)).count();
                let own = |one: &Established| one.direction == direction(outbound);
                let room = below(caps.peer, count(&|one| one.peer == peer))
                    && caps.allows(
                        caps.established[usize::from(outbound)],
                        count(&own),
                        count(&|one| own(one) && one.closing),
                    )
                    && caps.allows(caps.total, established.len(), count(&|one| one.closing));
                let subnet = begun.settle();
                let admitted = admission.admit(peers[peer], direction(outbound), &manager);
                assert_eq!(admitted.is_ok(), room, "{op:?}: {admitted:?}");
                established.extend(admitted.ok().map(|place| Established {
                    place,
                    subnet,
                    direction: direction(outbound),
                    peer,
                    net,
                    closing: false,
                }));
            }
            Op::Fail { which } => drop(take(&mut pending, which)),
            Op::Close { which } => {
                let count = established.len().max(1);
                if let Some(one) = established.get_mut(which % count) {
                    // A second time changes nothing.
                    one.place.mark_closing();
                    one.place.mark_closing();
                    one.closing = true;
                }
            }
            Op::End { which } => {
                if let Some(Established { place, subnet, .. }) = take(&mut established, which) {
                    place.give_back();
                    // What the manager still does to a connection that has ended.
                    place.mark_closing();
                    drop((place, subnet));
                }
            }
        }
        let of = |wanted: Direction| established.iter().filter(|one| one.direction == wanted).count() as u32;
        let waiting = |outbound| pending.iter().filter(|one| one.outbound == outbound).count() as u32;
        let nets =
            (0..NETS).filter(|net| caps.net.is_some() && in_net(&pending, &established, *net) > 0).count();
        let expected = Usage {
            pending_inbound: waiting(false),
            pending_outbound: waiting(true),
            established_inbound: of(Direction::Inbound),
            established_outbound: of(Direction::Outbound),
            closing: established.iter().filter(|one| one.closing).count() as u32,
            peers: (0..PEERS).filter(|peer| established.iter().any(|one| one.peer == *peer)).count(),
            subnets: nets,
        };
        assert_eq!(admission.usage(), expected, "after {op:?}");
    }
    drop((pending, established));
    admission.usage() == Usage::default()
}

quickcheck! {
    fn the_account_agrees_with_a_model_of_it(caps: Caps, ops: Vec<Op>) -> bool {
        agrees(caps, ops)
    }
}

/// Threads take and give back places in one account: never more than the cap, and nothing is left.
#[test]
fn swarms_on_many_threads_never_hold_more_than_the_caps() {
    let limits = Limits::default().with_max_established(5).with_max_established_inbound(3);
    let admission = Admission::new(limits).expect("valid limits");
    let manager = Manager::builder().background(false).build().expect("a valid configuration");
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (admission, manager, admitted) = (&admission, &manager, &admitted);
            scope.spawn(move || {
                for round in 0..5_000 {
                    let Ok(place) =
                        admission.admit(PeerId::random(), direction((thread + round) % 2 == 0), manager)
                    else {
                        continue;
                    };
                    admitted.fetch_add(1, Ordering::Relaxed);
                    let usage = admission.usage();
                    assert!(usage.established_inbound <= 3, "{usage:?}");
                    place.mark_closing();
                    place.give_back();
                }
            });
        }
    });
    assert!(admitted.into_inner() >= 5_000, "a quarter at least found room");
    assert_eq!(admission.usage(), Usage::default());
}

/// Threads do to each of many connections what `acts` say, one after the other, while newcomers ask without pause in an account that is full: no more
/// than `room` of them are let in, and in the end nothing is left.
fn newcomers_beside(before: fn(&Place), acts: &[fn(&Place)], room: usize) {
    let limits = Limits::default().with_max_established(MANY as u32).with_trim_to_admit(2 * MANY as u32);
    let admission = Admission::new(limits).expect("valid limits");
    let manager = Manager::builder().background(false).build().expect("a valid configuration");
    let admit = || admission.admit(PeerId::random(), Direction::Inbound, &manager).ok();
    let places: Vec<_> = (0..MANY).map(|_| admit().expect("the cap is not reached")).collect();
    places.iter().for_each(before);
    let others: Vec<_> = std::iter::from_fn(admit).collect();
    let mut came = Vec::new();
    std::thread::scope(|scope| {
        let places = &places;
        let acting: Vec<_> =
            acts.iter().map(|act| scope.spawn(move || places.iter().for_each(act))).collect();
        while acting.iter().any(|thread| !thread.is_finished()) {
            came.extend(admit());
        }
        came.extend(std::iter::from_fn(admit));
    });
    assert!(came.len() <= room, "{} came where there was room for {room}", came.len());
    places.iter().for_each(Place::give_back);
    drop((others, came));
    assert_eq!(admission.usage(), Usage::default());
}

const MANY: usize = 1_000;

/// A close and an end happen on two threads, in either order or at once: room is made once. (All in one test, as they would only slow
/// each other.)
#[test]
fn a_connection_makes_room_once_however_it_ends() {
    for _ in 0..40 {
        newcomers_beside(Place::mark_closing, &[Place::give_back], 0);
        newcomers_beside(Place::give_back, &[Place::mark_closing], 0);
        newcomers_beside(|_| (), &[Place::mark_closing, Place::give_back], MANY);
    }
}

#[test]
fn the_address_of_a_relay_is_nobodys() {
    let ip = |text: &str| ip_of(&text.parse().expect("an address")).map(|ip| ip.to_string());
    assert_eq!(ip("/ip4/192.0.2.1/tcp/4001").as_deref(), Some("192.0.2.1"));
    assert_eq!(ip("/ip6/2001:db8::1/udp/4001/quic-v1").as_deref(), Some("2001:db8::1"));
    assert_eq!(ip("/ip6/::ffff:192.0.2.1/tcp/4001").as_deref(), Some("192.0.2.1"), "in disguise");
    let relay = "12D3KooWSTEFtQovv9jWL1ar4X7DQ7vjcnaitZ91zYQaaTX75vGg";
    assert_eq!(ip(&format!("/ip4/192.0.2.1/tcp/4001/p2p/{relay}/p2p-circuit")), None);
    assert_eq!(ip(&format!("/p2p/{relay}")), None, "what comes by a relay bears its peer's name");
    assert_eq!(ip("/memory/1"), None);
    assert_eq!(ip("/dns4/example.org/tcp/4001"), None);
}
