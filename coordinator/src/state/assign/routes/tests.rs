use super::*;
use crate::state::assign::model::Traffic;

/// A cluster in which a copy takes so long by each way.
struct Machines {
    workers: u32,
    between: f64,
    through: f64,
    crosses_links: bool,
}

impl Machines {
    /// The ways of the first requests.
    fn requests(&self, requests: usize) -> Vec<Route> {
        let mut routes = Routes::default();
        let one = |_| {
            let route = routes.next(self.crosses_links, |route| self.predicted(&routes, route));
            routes.note(route, if route == Route::Workers { self.between } else { self.through });
            let known = routes;
            routes.settle(|route| self.predicted(&known, route));
            route
        };
        (0..requests).map(one).collect()
    }

    /// Seconds of a request in the model, without computing.
    fn predicted(&self, routes: &Routes, route: Route) -> f64 {
        let traffic = Traffic { route, copy_seconds: routes.copy_seconds(route), workers: self.workers };
        let each = traffic.of(1, 1.0);
        let load = (1..self.workers).fold(each, |load, _| load.and(each));
        traffic.seconds(load)
    }
}

fn through(routes: &[Route]) -> Vec<usize> {
    routes.iter().enumerate().filter(|(_, route)| **route == Route::Coordinator).map(|(at, _)| at).collect()
}

#[test]
fn behind_links_the_way_through_the_coordinator_is_tried_ever_less_often() {
    let machines = Machines { workers: 4, between: 1.0, through: 1.0, crosses_links: true };
    assert_eq!(through(&machines.requests(100)), [8, 25, 58]);
}

#[test]
fn many_workers_behind_links_never_try_it() {
    let machines = Machines { workers: 8, between: 1.0, through: 1.0, crosses_links: true };
    assert_eq!(through(&machines.requests(100)), [0; 0]);
}

#[test]
fn where_copies_cost_and_links_do_not_it_is_found_to_be_quicker_and_kept() {
    let machines = Machines { workers: 8, between: 0.25, through: 0.03, crosses_links: false };
    let routes = machines.requests(40);
    assert_eq!(routes[..8], [Route::Workers; 8]);
    let between: Vec<usize> = (8..40).filter(|at| routes[*at] == Route::Workers).collect();
    assert_eq!(between, [17, 34], "the other way is tried from time to time");
}

#[test]
fn a_way_that_becomes_slow_is_left() {
    let mut routes = Routes::default();
    let seconds = |known: Routes| move |route| known.copy_seconds(route);
    routes.note(Route::Workers, 1.0);
    routes.settle(seconds(routes));
    routes.note(Route::Coordinator, 0.1);
    routes.settle(seconds(routes));
    assert_eq!(routes.taken(), Route::Coordinator);
    for _ in 0..20 {
        routes.note(Route::Coordinator, 5.0);
        routes.settle(seconds(routes));
    }
    assert_eq!(routes.taken(), Route::Workers);
}

#[test]
fn without_a_measurement_nothing_is_tried() {
    let mut routes = Routes::default();
    for _ in 0..20 {
        routes.settle(|_| 0.0);
    }
    assert_eq!(routes.next(false, |_| 0.0), Route::Workers);
}
