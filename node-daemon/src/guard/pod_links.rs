//! The node's ends of the pods' links, as they were when they were whole: what another program changes
//! on them is put back. Pure.
//!
//! The plugin makes a link, its routes and neighbours, and takes all of it away with the link. A link is
//! known from the first look that finds it up, so that one that is being made is left alone. What it
//! loses afterwards, it lost to somebody else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni_protocol::contract::{POD_FACING_V4, POD_FACING_V6, POD_LINK_GROUP};

use super::settings::Setting;
use crate::io::netlink::route::Link;

/// A neighbour that is never asked for and never forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// Index of its link.
    pub(crate) link: u32,
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its link-layer address.
    pub(crate) hardware: Vec<u8>,
}

/// What the kernel has at the moment.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// All links.
    pub(super) links: Vec<Link>,
    /// Pods' routes: link and address.
    pub(super) routes: Vec<(u32, IpAddr)>,
    /// Permanent neighbours.
    pub(super) neighbours: Vec<Neighbour>,
}

/// What puts a pod's link right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// Take it up, with this MTU.
    Raise(u32, u32),
    /// Add the neighbour, before the route that leads to it.
    Neighbour(Neighbour),
    /// Add the route.
    Route(u32, IpAddr),
}

/// The pods' links that are known.
#[derive(Debug, Default)]
pub(super) struct PodLinks(BTreeMap<(u32, String), Whole>);

/// A link as it was.
#[derive(Debug)]
struct Whole {
    mtu: u32,
    routes: Vec<IpAddr>,
    neighbours: Vec<Neighbour>,
}

impl PodLinks {
    /// Learns what is new and says what has to be put back, in this order.
    pub(super) fn compare(&mut self, observed: &Observed) -> Vec<Mend> {
        let mut mends = Vec::new();
        let mut known = std::mem::take(&mut self.0);
        let pods = observed.links.iter();
        for link in pods.filter(|link| link.group == POD_LINK_GROUP) {
            let key = (link.index, link.name.clone());
            let routes = routes_of(observed, link.index);
            let neighbours = neighbours_of(observed, link.index);
            let Some(mut whole) = known.remove(&key) else {
                if link.up {
                    let mtu = link.mtu;
                    self.0.insert(
                        key,
                        Whole {
                            mtu,
                            routes,
                            neighbours,
                        },
                    );
                }
                continue;
            };
            if !link.up || link.mtu != whole.mtu {
                mends.push(Mend::Raise(link.index, whole.mtu));
            }
            mends.extend(whole.lost(link.index, &routes, &neighbours));
            whole.learn(routes, neighbours);
            self.0.insert(key, whole);
        }
        mends
    }

    /// What the known links' settings have to be.
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting> {
        let names = self.0.keys().map(|(_, name)| name);
        names.flat_map(|name| {
            let of = move |version: &'static str| {
                move |(key, value): &(&str, &str)| {
                    Setting::new(format!("net/{version}/conf/{name}/{key}"), value)
                }
            };
            let v4 = POD_FACING_V4.iter().map(of("ipv4"));
            v4.chain(POD_FACING_V6.iter().map(of("ipv6")))
        })
    }
}

impl Whole {
    fn lost(&self, link: u32, routes: &[IpAddr], neighbours: &[Neighbour]) -> Vec<Mend> {
        let own = self.neighbours.iter();
        let neighbours = own.filter(|it| !neighbours.contains(it));
        let routes = self.routes.iter().filter(|it| !routes.contains(it));
        neighbours
            .map(|it| Mend::Neighbour(it.clone()))
            .chain(routes.map(|it| Mend::Route(link, *it)))
            .collect()
    }

    /// An attachment may have been half made when it was first seen.
    fn learn(&mut self, routes: Vec<IpAddr>, neighbours: Vec<Neighbour>) {
        for route in routes {
            if !self.routes.contains(&route) {
                self.routes.push(route);
            }
        }
        for neighbour in neighbours {
            let address = neighbour.address;
            if !self.neighbours.iter().any(|it| it.address == address) {
                self.neighbours.push(neighbour);
            }
        }
    }
}

fn routes_of(observed: &Observed, link: u32) -> Vec<IpAddr> {
    let all = observed.routes.iter();
    let own = all.filter(|(index, _)| *index == link);
    own.map(|(_, address)| *address).collect()
}

fn neighbours_of(observed: &Observed, link: u32) -> Vec<Neighbour> {
    let all = observed.neighbours.iter();
    all.filter(|it| it.link == link).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 2));

    fn link(index: u32, up: bool) -> Link {
        Link {
            index,
            name: format!("sp{index:013}"),
            group: POD_LINK_GROUP,
            mtu: 1420,
            up,
            is_tun: false,
        }
    }

    fn neighbour(last: u8) -> Neighbour {
        Neighbour {
            link: 7,
            address: POD,
            hardware: vec![2, 0, 0, 0, 0, last],
        }
    }

    fn whole() -> Observed {
        Observed {
            links: vec![link(7, true)],
            routes: vec![(7, POD)],
            neighbours: vec![neighbour(1)],
        }
    }

    #[test]
    fn dp18_what_a_pods_link_lost_is_put_back_neighbour_before_route() {
        let mut known = PodLinks::default();
        assert_eq!(known.compare(&whole()), []);
        let mut lowered = link(7, false);
        lowered.mtu = 1300;
        let damaged = Observed {
            links: vec![lowered],
            ..Observed::default()
        };

        let mends = known.compare(&damaged);

        let wanted = [
            Mend::Raise(7, 1420),
            Mend::Neighbour(neighbour(1)),
            Mend::Route(7, POD),
        ];
        assert_eq!(mends, wanted);
        assert_eq!(known.compare(&damaged), wanted, "until it is done");
        assert_eq!(known.compare(&whole()), []);
    }

    #[test]
    fn a_neighbour_of_another_address_is_put_right() {
        let mut known = PodLinks::default();
        known.compare(&whole());
        let altered = Observed {
            neighbours: vec![neighbour(9)],
            ..whole()
        };

        assert_eq!(known.compare(&altered), [Mend::Neighbour(neighbour(1))]);
    }

    #[test]
    fn a_link_that_is_being_made_or_is_gone_is_left_alone() {
        let mut known = PodLinks::default();
        let young = Observed {
            links: vec![link(7, false)],
            ..Observed::default()
        };
        assert_eq!(known.compare(&young), []);
        let half = Observed {
            links: vec![link(7, true)],
            ..Observed::default()
        };
        assert_eq!(known.compare(&half), []);
        assert_eq!(known.compare(&whole()), []);

        assert_eq!(known.compare(&Observed::default()), []);
        assert_eq!(known.compare(&half), [], "another of the same index");
        let mut uplink = link(8, true);
        uplink.group = 0;
        let others = |up| Observed {
            links: vec![Link {
                up,
                ..uplink.clone()
            }],
            ..Observed::default()
        };
        known.compare(&others(true));
        assert_eq!(known.compare(&others(false)), [], "somebody else's");
    }
}
