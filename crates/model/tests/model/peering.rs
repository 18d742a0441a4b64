//! "How VPC peering connections work" and "VPC peering connection lifecycle" in the VPC peering guide.

use postern_model::peering::*;
use postern_model::route::{RouteTable, RouteTarget};
use postern_model::*;

use crate::world::{World, cidr, create_route, net};

fn ask(vpc: VpcId, peer: VpcId, peer_owner: AccountId) -> Action {
    Action::Peering(PeeringAction::Create { vpc, peer, peer_owner, tags: Vec::new() })
}

fn accept(peering: VpcPeeringConnectionId) -> Action {
    Action::Peering(PeeringAction::Accept { peering })
}

fn delete(peering: VpcPeeringConnectionId) -> Action {
    Action::Peering(PeeringAction::Delete { peering })
}

fn status(world: &World, peering: VpcPeeringConnectionId) -> &'static str {
    world.get::<VpcPeeringConnection>(peering).status(Timestamp(world.now)).name()
}

/// Does this as the other account.
fn as_other<T>(world: &mut World, work: impl FnOnce(&mut World) -> T) -> T {
    let own = std::mem::replace(&mut world.account, other());
    let done = work(world);
    world.account = own;
    done
}

fn other() -> AccountId {
    AccountId::from_number(222_222_222_222).unwrap()
}

/// A VPC of ours, one of another account's, and a request of ours for their peering.
fn asked() -> (World, VpcId, VpcId, VpcPeeringConnectionId) {
    let mut world = World::new();
    let ours = world.vpc("10.0.0.0/16");
    let theirs = as_other(&mut world, |world| {
        world.run(Action::CreateAccount { name: "theirs".to_owned(), root_key: None });
        world.vpc("10.1.0.0/16")
    });
    let peering = world.make(ask(ours, theirs, other()));
    (world, ours, theirs, peering)
}

#[test]
fn a_request_is_accepted_by_who_was_asked() {
    let (mut world, ours, theirs, peering) = asked();
    assert_eq!(status(&world, peering), "pending-acceptance");
    let (account, verb) = (world.account, "accept");
    assert_eq!(world.refusal(accept(peering)), ModelError::PeeringNotYours { peering, account, verb });
    assert_eq!(between(&world.state, ours, theirs), None);
    as_other(&mut world, |world| world.run(accept(peering)));
    assert_eq!(status(&world, peering), "provisioning");
    world.run(Action::Peering(PeeringAction::ReportReady { peering }));
    assert_eq!(status(&world, peering), "active");
    assert_eq!(between(&world.state, theirs, ours).map(|found| found.id), Some(peering));
    // Once only, and either side may end it.
    assert_eq!(world.refusal(ask(ours, theirs, other())), ModelError::PeeringExists { peering });
    as_other(&mut world, |world| world.run(delete(peering)));
    assert_eq!(status(&world, peering), "deleted");
    let (from, to) = ("deleted", "deleted");
    assert_eq!(world.refusal(delete(peering)), ModelError::PeeringTransition { peering, from, to });
    let again: VpcPeeringConnectionId = world.make(ask(ours, theirs, other()));
    assert_ne!(again, peering);
}

#[test]
fn who_was_asked_rejects_and_who_asked_takes_back() {
    let (mut world, ours, theirs, peering) = asked();
    let reject = Action::Peering(PeeringAction::Reject { peering });
    as_other(&mut world, |world| {
        let (account, verb) = (other(), "delete");
        assert_eq!(world.refusal(delete(peering)), ModelError::PeeringNotYours { peering, account, verb });
        world.run(reject);
    });
    assert_eq!(status(&world, peering), "rejected");
    let second: VpcPeeringConnectionId = world.make(ask(ours, theirs, other()));
    world.run(delete(second));
    assert_eq!(status(&world, second), "deleted");
}

#[test]
fn what_overlaps_or_is_not_there_fails() {
    let (mut world, ours, theirs, _) = asked();
    let inside = world.vpc("10.1.128.0/20");
    let overlapping: VpcPeeringConnectionId = world.make(ask(inside, theirs, other()));
    assert_eq!(status(&world, overlapping), "failed");
    // The other account never hears of it.
    let heard =
        as_other(&mut world, |world| world.state.get::<VpcPeeringConnection>(other(), overlapping).is_ok());
    assert!(!heard);
    let account = world.account;
    let third = world.vpc("10.9.0.0/16");
    let wrong_owner: VpcPeeringConnectionId = world.make(ask(third, theirs, account));
    assert_eq!(status(&world, wrong_owner), "failed");
    let itself: VpcPeeringConnectionId = world.make(ask(ours, ours, account));
    assert_eq!(status(&world, itself), "failed");
}

#[test]
fn a_block_that_came_meanwhile_makes_it_fail_and_one_that_comes_later_is_refused() {
    let (mut world, ours, theirs, peering) = asked();
    let block = |vpc| Action::AssociateVpcCidrBlock { vpc, cidr: net("10.7.0.0/16") };
    as_other(&mut world, |world| world.run(block(theirs)));
    world.run(block(ours));
    as_other(&mut world, |world| world.run(accept(peering)));
    assert_eq!(status(&world, peering), "failed");

    let (mut world, ours, theirs, peering) = asked();
    as_other(&mut world, |world| {
        world.run(accept(peering));
        world.run(block(theirs));
    });
    let (cidr, other) = (net("10.7.0.0/16"), net("10.7.0.0/16"));
    assert_eq!(world.refusal(block(ours)), ModelError::BlockOverlap { cidr, other });
    let in_use = ModelError::InUse { resource: ours.into(), used_by: peering.to_string() };
    assert_eq!(world.refusal(Action::DeleteVpc { vpc: ours }), in_use);
}

#[test]
fn a_request_that_nobody_answers_expires() {
    let (mut world, _, _, peering) = asked();
    world.now += WAITS_MILLISECONDS;
    assert_eq!(status(&world, peering), "expired");
    let (from, to) = ("expired", "provisioning");
    let refusal = as_other(&mut world, |world| world.refusal(accept(peering)));
    assert_eq!(refusal, ModelError::PeeringTransition { peering, from, to });
}

#[test]
fn what_is_over_is_shown_for_a_while_and_then_forgotten() {
    const HOUR: u64 = 3_600_000;
    let (mut world, ours, theirs, peering) = asked();
    let reject = Action::Peering(PeeringAction::Reject { peering });
    as_other(&mut world, |world| world.run(reject));
    let found = world.get::<VpcPeeringConnection>(peering);
    let shown = |account, hours: u64| found.is_shown(account, Timestamp(world.now + hours * HOUR));
    assert_eq!([shown(other(), 2), shown(other(), 3)], [true, false]);
    assert_eq!([shown(world.account, 48), shown(world.account, 49)], [true, false]);
    world.now += 49 * HOUR;
    world.make::<VpcPeeringConnectionId>(ask(ours, theirs, other()));
    assert!(!world.state.vpc_peering_connections.contains_key(&peering));
}

#[test]
fn a_route_may_lead_to_it_before_it_works_and_is_a_black_hole_until_then_and_after() {
    let (mut world, ours, _, peering) = asked();
    let table = world.main_table(ours);
    let route = create_route(table, cidr("10.1.0.0/16"), RouteTarget::VpcPeering(peering));
    world.run(route.clone());
    let is_blackhole = |world: &World| {
        let table = world.get::<RouteTable>(table);
        table.routes.values().next().unwrap().is_blackhole(&world.state, ours)
    };
    assert!(is_blackhole(&world));
    as_other(&mut world, |world| world.run(accept(peering)));
    assert!(!is_blackhole(&world));
    world.run(delete(peering));
    assert!(is_blackhole(&world));
    world.run(Action::DeleteRoute { table, destination: cidr("10.1.0.0/16") });
    let (state, needed) = ("deleted", "active");
    assert_eq!(world.refusal(route), ModelError::WrongState { resource: peering.into(), state, needed });
}

#[test]
fn a_route_to_a_peering_of_other_vpcs_or_inside_the_own_one_is_refused() {
    let (mut world, ours, _, peering) = asked();
    let third = world.vpc("10.2.0.0/16");
    let table = world.main_table(third);
    let elsewhere = create_route(table, cidr("10.1.0.0/16"), RouteTarget::VpcPeering(peering));
    assert_eq!(world.refusal(elsewhere), ModelError::DifferentVpcs { a: table.into(), b: peering.into() });
    world.subnet(ours, "10.0.1.0/24");
    let table = world.main_table(ours);
    let inside = create_route(table, cidr("10.0.1.0/24"), RouteTarget::VpcPeering(peering));
    assert_eq!(world.refusal(inside), ModelError::RouteTargetUnsupported(peering.into()));
}

#[test]
fn each_side_has_options_and_tags_of_its_own() {
    let (mut world, ours, theirs, peering) = asked();
    as_other(&mut world, |world| world.run(accept(peering)));
    let options = |requester_dns, accepter_dns| {
        Action::Peering(PeeringAction::ModifyOptions { peering, requester_dns, accepter_dns })
    };
    let attributes = |vpc| Action::SetVpcDns { vpc, support: None, hostnames: Some(true) };
    world.run(attributes(ours));
    assert_eq!(world.refusal(options(Some(true), None)), ModelError::PrivateDnsAttributes { vpc: theirs });
    as_other(&mut world, |world| world.run(attributes(theirs)));
    world.run(options(Some(true), None));
    let (account, verb) = (world.account, "modify the options of");
    assert_eq!(
        world.refusal(options(None, Some(true))),
        ModelError::PeeringNotYours { peering, account, verb }
    );
    let found = world.get::<VpcPeeringConnection>(peering);
    assert!(found.requester.dns_from_remote && !found.accepter.dns_from_remote);

    let tag = |value: &str| Action::CreateTags {
        resources: vec![peering.into()],
        tags: vec![("Name".to_owned(), value.to_owned())],
    };
    world.run(tag("ours"));
    as_other(&mut world, |world| world.run(tag("theirs")));
    let found = world.get::<VpcPeeringConnection>(peering);
    let of = |account| found.tags_of(account).get("Name").cloned();
    assert_eq!((of(world.account), of(other())), (Some("ours".to_owned()), Some("theirs".to_owned())));
}

#[test]
fn there_are_quotas() {
    let (mut world, ours, _, _) = asked();
    world.run(Action::SetQuota { quota: Quota::PendingPeerings, limit: Some(2) });
    let third = world.vpc("10.3.0.0/16");
    let fourth = world.vpc("10.4.0.0/16");
    let account = world.account;
    let second: VpcPeeringConnectionId = world.make(ask(ours, third, account));
    let (quota, limit) = (Quota::PendingPeerings, 2);
    assert_eq!(world.refusal(ask(ours, fourth, account)), ModelError::Quota { quota, limit });
    world.run(accept(second));
    world.run(Action::SetQuota { quota: Quota::PeeringsPerVpc, limit: Some(1) });
    let third: VpcPeeringConnectionId = world.make(ask(ours, fourth, account));
    let (quota, limit) = (Quota::PeeringsPerVpc, 1);
    assert_eq!(world.refusal(accept(third)), ModelError::Quota { quota, limit });
}
