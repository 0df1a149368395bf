//! The stack on a TUN and on a TAP, against the kernel's sockets and real programs.
//!
//! Each test runs in a process of its own, in a user and network namespace that it makes itself:
//! no root is needed, and nothing outside is touched. What cannot run says why and counts as
//! ignored; with `NETSTACK_TEST_REQUIRE_ALL=1` in the environment it fails instead.

#![expect(clippy::print_stderr, reason = "a test that cannot run here says why")]

mod autoconfiguration;
mod changes;
mod daemon;
mod endings;
mod fairness;
mod fetching;
mod iface;
mod namespace;
mod programs;
mod refusals;
mod routing;
mod servers;
mod sockets;
mod tap;
mod usage;
mod wire;

use namespace::Test;
use std::process::ExitCode;
use wire::Wire::{self, PlainTap, PlainTun, Tap, Tun};

const TESTS: &[Test] = &[
    Test::new("kernel_clients_reach_the_stack_over_ipv4_and_ipv6", || sockets::clients(Tun)),
    Test::new("the_stack_reaches_kernel_servers_over_ipv4_and_ipv6", || sockets::servers(Tun)),
    Test::new("datagrams_of_all_sizes_go_both_ways", || sockets::datagrams(Tun)),
    Test::new("kernel_clients_reach_the_stack_without_offload", || sockets::clients(PlainTun)),
    Test::new("the_stack_reaches_kernel_servers_without_offload", || sockets::servers(PlainTun)),
    Test::new("datagrams_go_both_ways_without_offload", || sockets::datagrams(PlainTun)),
    Test::new("a_megabyte_each_way_survives_a_bad_link_in_front_of_the_tun", sockets::impaired),
    Test::new("closed_ports_refuse_in_both_directions", sockets::refusals),
    Test::new("both_directions_close_independently", sockets::half_close),
    Test::new("a_thousand_connections_leave_nothing_behind", sockets::many_connections),
    Test::new("eight_streams_share_the_way_up_and_the_way_down", fairness::shares),
    Test::new("a_flood_holds_up_a_round_trip_no_longer_than_its_windows_take", fairness::delay),
    Test::new("routes_and_sources_are_those_of_the_kernel", routing::random_tables),
    Test::new("conflicting_addresses_of_the_host_are_refused", routing::conflicts),
    Test::new("without_ipv6_the_error_says_so", wire::without_ipv6),
    Test::new("each_refusal_of_the_tun_driver_names_its_cure", refusals::driver),
    Test::new("without_cap_net_admin_the_error_says_so", refusals::capability),
    Test::new("each_refusal_of_a_setting_names_its_cure", refusals::settings),
    Test::new("an_interface_made_by_root_needs_no_capability", refusals::made_by_root),
    Test::new("a_deleted_interface_ends_the_stack", sockets::deleted_interface),
    Test::new("an_idle_stack_uses_no_processor", sockets::idle),
    Test::new("ping_is_answered", programs::ping),
    Test::new("curl_moves_100_mib_each_way_over_both_families", programs::curl),
    Test::new("eight_curls_at_once", programs::eight_curls),
    Test::new("nc_is_echoed", programs::netcat),
    Test::new("the_ping_example_pings_the_kernel", programs::ping_example),
    Test::new("the_ping_example_names_the_router_where_its_time_is_over", programs::ping_ttl),
    Test::new("the_connect_example_talks_to_the_kernel", programs::connect_example),
    Test::new("five_stacks_on_a_switch_find_each_other", programs::lan_example).without_interface(),
    Test::new("tshark_reads_the_capture_of_a_switch", programs::lan_capture).without_interface(),
    Test::new("dnsmasq_is_asked_and_names_are_connected_to", programs::names),
    Test::new("openssl_checks_the_certificate_and_is_echoed", servers::tls),
    Test::new("curl_goes_through_the_proxy_to_the_kernel", servers::proxy),
    Test::new("the_proxy_forwards_to_one_target", servers::forward),
    Test::new("what_one_nc_says_the_other_hears_from_tasks", servers::chat_in_tasks),
    Test::new("what_one_nc_says_the_other_hears_from_threads", servers::chat_in_threads),
    Test::new("a_tun_opened_by_the_tun_tap_crate_carries_data", || {
        sockets::clients(Wire::TunIface)
    }),
    Test::new("a_tap_opened_by_the_tun_tap_crate_carries_data", || {
        sockets::clients(Wire::TapIface)
    }),
    Test::new("an_iface_of_another_framing_is_refused", iface::refusals),
    Test::new("kernel_clients_reach_the_stack_over_a_tap", || sockets::clients(Tap)),
    Test::new("kernel_clients_reach_the_stack_over_a_tap_without_offload", || {
        sockets::clients(PlainTap)
    }),
    Test::new("the_stack_reaches_kernel_servers_over_a_tap", || sockets::servers(Tap)),
    Test::new("the_stack_reaches_kernel_servers_over_a_tap_without_offload", || {
        sockets::servers(PlainTap)
    }),
    Test::new("datagrams_of_all_sizes_go_both_ways_over_a_tap", || sockets::datagrams(Tap)),
    Test::new("ping_over_a_tap_is_answered_and_the_kernel_knows_the_neighbour", tap::ping),
    Test::new("nobody_on_a_tap_is_host_unreachable", tap::nobody),
    Test::new("an_address_that_the_kernel_has_is_given_up", tap::duplicate),
    Test::new("a_tap_has_a_carrier_while_the_kernel_has_it_up", tap::carrier),
    Test::new("a_leased_address_is_renewed_and_replaced", autoconfiguration::dhcp),
    Test::new("a_leased_address_is_given_back", autoconfiguration::released),
    Test::new(
        "each_stack_behind_an_uplink_gives_its_lease_back",
        autoconfiguration::released_by_several,
    ),
    Test::new("dnsmasq_as_a_router_gives_an_ipv6_address", autoconfiguration::slaac_of_dnsmasq),
    Test::new("radvd_gives_an_ipv6_address", autoconfiguration::slaac_of_radvd),
    Test::new("an_address_comes_and_goes_beside_a_connection", changes::by_command),
    Test::new("the_state_is_shown_whoever_changes_it", changes::by_dhcp),
    Test::new("a_wrong_command_is_named_with_its_line_and_the_last", changes::bad_commands),
    Test::new("at_a_terminal_a_wrong_command_is_passed_over", changes::at_a_terminal),
    Test::new("a_fetched_page_is_the_one_that_curl_gets", fetching::page),
    Test::new("a_third_port_sees_no_unicast_of_two_others", fetching::third_port),
    Test::new("a_page_comes_over_https_from_openssl", fetching::https),
    Test::new("what_cannot_be_fetched_is_one_line_and_status_1", fetching::failures),
    Test::new("bad_input_is_one_line_and_status_1", programs::bad_input),
    Test::new("wrong_usage_is_told_by_clap_with_status_2", usage::wrong).without_interface(),
    Test::new("help_and_version_are_no_errors", usage::help).without_interface(),
    Test::new("an_output_that_is_closed_or_full_is_no_panic", usage::output),
    Test::new("a_signal_ends_a_server_in_order", endings::server),
    Test::new("a_signal_ends_ping_with_its_statistics", endings::ping),
    Test::new("a_signal_gives_the_lease_back", endings::lease),
    Test::new("a_second_signal_ends_at_once", endings::second_signal),
    Test::new("a_flag_shows_each_connection_begin_and_end", endings::log),
];

fn main() -> ExitCode {
    namespace::run(TESTS)
}
