//! The stack on a TUN and on a TAP, against the kernel's sockets and real programs.
//!
//! Each test runs in a process of its own, in a user and network namespace that it makes itself:
//! no root is needed, and nothing outside is touched. A test that cannot run prints the reason and
//! counts as ignored; with `NETSTACK_TEST_REQUIRE_ALL=1` in the environment it fails instead.

#![expect(clippy::print_stderr, reason = "a test that cannot run here prints the reason")]

mod autoconfiguration;
mod browser;
mod c;
mod changes;
mod daemon;
mod endings;
mod explained;
mod fairness;
mod far;
mod fetching;
mod gateway;
mod guest;
mod iface;
mod links;
mod metrics;
mod namespace;
mod overlay;
mod packet;
mod page;
mod passt;
mod peer;
mod perf;
mod programs;
mod proxying;
mod queues;
mod refusals;
mod routing;
mod run;
mod secrets;
mod seeing;
mod servers;
mod sockets;
mod switch;
mod talking;
mod tap;
mod usage;
mod vde;
mod web;
mod wire;

use namespace::Test;
use peer::Fault;
use run::{
    clients, diag, endings as run_endings, escape, interfaces, join, limits, load, names, netlink,
    netns, owners, ping, remote, semantics, servers as run_servers, wireguard,
};
use std::process::ExitCode;
use wire::Wire::{self, PlainTap, PlainTun, Tap, Tun};

const TESTS: &[Test] = &[
    Test::new("kernel_clients_reach_the_stack_over_ipv4_and_ipv6", || sockets::clients(Tun)),
    Test::new("the_stack_reaches_kernel_servers_over_ipv4_and_ipv6", || sockets::servers(Tun)),
    Test::new("datagrams_of_all_sizes_cross_in_both_directions", || sockets::datagrams(Tun)),
    Test::new("kernel_clients_reach_the_stack_without_offload", || sockets::clients(PlainTun)),
    Test::new("the_stack_reaches_kernel_servers_without_offload", || sockets::servers(PlainTun)),
    Test::new("datagrams_cross_in_both_directions_without_offload", || {
        sockets::datagrams(PlainTun)
    }),
    Test::new("a_megabyte_crosses_an_impaired_tun_in_each_direction", sockets::impaired),
    Test::new("the_kernel_and_the_stack_exchange_data_without_loss", || {
        peer::transfers(Fault::None)
    }),
    Test::new("the_kernel_and_the_stack_repair_single_losses", || peer::transfers(Fault::Loss)),
    Test::new("the_kernel_and_the_stack_repair_bursts_of_losses", || peer::transfers(Fault::Burst)),
    Test::new("the_kernel_and_the_stack_stand_reordering", || peer::transfers(Fault::Reordering)),
    Test::new("the_kernel_and_the_stack_stand_duplication", || peer::transfers(Fault::Duplication)),
    Test::new("the_kernel_and_the_stack_stand_all_faults_at_once", || peer::transfers(Fault::All)),
    Test::new("the_kernel_is_a_peer_in_all_pairs_of_properties", peer::covers_pairs)
        .without_interface(),
    Test::new("each_violation_in_a_doctored_capture_is_found", peer::findings_of_rules)
        .without_interface(),
    Test::new("tshark_finds_violations_in_a_doctored_capture", peer::findings_of_tshark)
        .without_interface(),
    Test::new("comments_and_tshark_agree_on_each_retransmission", explained::retransmissions)
        .without_interface(),
    Test::new("tshark_decrypts_tls_with_the_secrets_of_the_capture", secrets::of_tls)
        .without_interface(),
    Test::new("closed_ports_refuse_in_both_directions", sockets::refusals),
    Test::new("both_directions_close_independently", sockets::half_close),
    Test::new("a_thousand_connections_leave_nothing_behind", sockets::many_connections),
    Test::new("eight_streams_share_the_link_in_each_direction", fairness::shares),
    Test::new("a_flood_delays_a_round_trip_by_at_most_its_windows", fairness::delay),
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
    Test::new("curl_transfers_100_mib_in_each_direction_and_family", programs::curl),
    Test::new("eight_curls_at_once", programs::eight_curls),
    Test::new("nc_is_echoed", programs::netcat),
    Test::new("the_ping_tool_pings_the_kernel", programs::ping_tool),
    Test::new("the_ping_tool_names_the_router_where_its_ttl_expires", programs::ping_ttl),
    Test::new("each_small_example_does_its_one_thing", programs::small_examples),
    Test::new("the_connect_tool_talks_to_the_kernel", programs::connect_tool),
    Test::new("five_stacks_on_a_switch_find_each_other", programs::lan_example).without_interface(),
    Test::new("tshark_reads_the_capture_of_a_switch", programs::lan_capture).without_interface(),
    Test::new("names_are_resolved_by_dnsmasq_and_connected_to", programs::names),
    Test::new("openssl_checks_the_certificate_and_is_echoed", servers::tls),
    Test::new("curl_goes_through_the_proxy_from_a_second_stack", servers::proxy),
    Test::new("the_proxy_forwards_to_one_target", servers::forward),
    Test::new("the_proxy_example_carries_to_a_second_stack", servers::two_stacks),
    Test::new("chat_relays_lines_between_two_ncs_with_tasks", servers::chat_in_tasks),
    Test::new("chat_relays_lines_between_two_ncs_with_threads", servers::chat_in_threads),
    Test::new("a_tun_opened_by_the_tun_tap_crate_carries_data", || {
        sockets::clients(Wire::TunIface)
    }),
    Test::new("a_tap_opened_by_the_tun_tap_crate_carries_data", || {
        sockets::clients(Wire::TapIface)
    }),
    Test::new("a_tun_opened_by_the_tun_rs_crate_carries_data", || sockets::clients(Wire::TunRs)),
    Test::new("a_tun_opened_by_the_tun_rs_crate_reaches_kernel_servers", || {
        sockets::servers(Wire::TunRs)
    }),
    Test::new("the_queue_of_a_tun_is_that_of_ethernet", iface::queue),
    Test::new("an_iface_of_another_framing_is_refused", iface::refusals),
    Test::new("kernel_clients_reach_the_stack_over_a_tap", || sockets::clients(Tap)),
    Test::new("kernel_clients_reach_the_stack_over_a_tap_without_offload", || {
        sockets::clients(PlainTap)
    }),
    Test::new("the_stack_reaches_kernel_servers_over_a_tap", || sockets::servers(Tap)),
    Test::new("the_stack_reaches_kernel_servers_over_a_tap_without_offload", || {
        sockets::servers(PlainTap)
    }),
    Test::new("datagrams_of_all_sizes_cross_a_tap_in_both_directions", || sockets::datagrams(Tap)),
    Test::new("a_tun_and_a_tap_of_the_parent_are_links", links::descriptors),
    Test::new("the_tools_take_a_link_by_its_url", links::flags),
    Test::new("two_vdens_and_a_stack_meet_on_our_switch", vde::on_our_switch),
    Test::new("a_tool_on_a_switch_connects_at_once_over_ipv6", vde::at_once).without_interface(),
    Test::new("virtual_lans_of_our_switch_part_two_vdens", vde::vlans_of_our_switch),
    Test::new("a_killed_switch_ends_the_stack_and_can_be_replaced", vde::killed_switch)
        .without_interface(),
    Test::new("debians_vde_switch_names_the_stack_while_it_is_there", vde::on_debians_switch),
    Test::new("vdens_and_the_stack_meet_at_a_path_in_any_order", vde::ptp),
    Test::new("a_page_comes_through_slirp_on_our_switch", vde::slirp).without_interface(),
    Test::new("vdens_reaches_the_stack_over_vxvde", overlay::vdens),
    Test::new("vdens_reaches_the_stack_over_vxvde_and_ipv6", overlay::vdens_over_ipv6),
    Test::new("the_kernels_vxlan_reaches_the_stack_by_address", overlay::kernel_by_remote),
    Test::new("the_kernels_vxlan_reaches_the_stack_by_group", overlay::kernel_by_group),
    Test::new("the_kernels_vxlan_reaches_the_stack_over_ipv6", overlay::kernel_by_remote_over_ipv6),
    Test::new(
        "the_kernels_vxlan_reaches_the_stack_by_an_ipv6_group",
        overlay::kernel_by_group_over_ipv6,
    ),
    Test::new("the_stack_is_a_host_beside_the_kernel_on_a_veth", packet::beside_the_kernel),
    Test::new("a_packet_socket_takes_frames_to_the_stack_alone", packet::own_frames),
    Test::new("a_veth_has_a_carrier_while_both_ends_are_up", packet::carrier),
    Test::new("no_packet_socket_is_opened_on_what_is_no_ethernet", packet::refusals),
    Test::new("a_packet_socket_needs_cap_net_raw", packet::privilege),
    Test::new("a_packet_socket_passes_by_frames_of_a_virtual_lan", packet::virtual_lan),
    Test::new("a_switch_outlives_its_uplink_and_records_all_frames", switch::uplink),
    Test::new("a_trunk_to_debians_switch_keeps_virtual_lans_apart", switch::trunk),
    Test::new("each_wrong_flag_of_a_switch_is_named", switch::mistakes),
    Test::new("behind_passt_a_stack_has_addresses_and_streams", passt::behind_it),
    Test::new("each_flow_stays_on_its_queue_of_a_tun", queues::tun),
    Test::new("each_flow_stays_on_its_queue_of_a_tap", queues::tap),
    Test::new("a_stack_reads_all_queues_with_offload", queues::stack),
    Test::new("ping_over_a_tap_is_answered_and_resolves_the_neighbour", tap::ping),
    Test::new("an_unused_address_on_a_tap_is_host_unreachable", tap::host_unreachable),
    Test::new("an_address_that_the_kernel_has_is_removed", tap::duplicate),
    Test::new("a_tap_has_a_carrier_while_the_kernel_has_it_up", tap::carrier),
    Test::new("a_leased_address_is_renewed_and_replaced", autoconfiguration::dhcp),
    Test::new("a_leased_address_is_released", autoconfiguration::released),
    Test::new(
        "each_stack_behind_an_uplink_releases_its_lease",
        autoconfiguration::released_by_several,
    ),
    Test::new("dnsmasq_as_a_router_gives_an_ipv6_address", autoconfiguration::slaac_of_dnsmasq),
    Test::new("radvd_gives_an_ipv6_address", autoconfiguration::slaac_of_radvd),
    Test::new("an_address_is_added_and_removed_beside_a_connection", changes::by_command),
    Test::new("a_leased_address_is_shown_with_its_servers", changes::by_dhcp),
    Test::new("an_invalid_change_is_reported_and_changes_nothing", changes::bad_commands),
    Test::new("a_fetched_page_is_the_one_that_curl_gets", fetching::page),
    Test::new("fetch_connects_once_it_has_an_address", fetching::waits),
    Test::new("a_third_port_sees_no_unicast_of_two_others", fetching::third_port),
    Test::new("a_page_comes_over_https_from_openssl", fetching::https),
    Test::new("a_failed_fetch_prints_one_line_and_exits_as_curl", fetching::failures),
    Test::new("bad_input_prints_one_line_with_status_1", programs::bad_input),
    Test::new("wrong_usage_is_reported_by_clap_with_status_2", usage::wrong).without_interface(),
    Test::new("help_and_version_are_no_errors", usage::no_errors).without_interface(),
    Test::new("short_help_fits_a_screen_and_long_help_ends_with_examples", usage::screens)
        .without_interface(),
    Test::new("an_output_that_is_closed_or_full_is_no_panic", usage::output),
    Test::new("a_signal_shuts_a_server_down", endings::server),
    Test::new("a_signal_ends_ping_with_its_statistics", endings::ping),
    Test::new("a_signal_releases_the_lease", endings::lease),
    Test::new("a_second_signal_ends_at_once", endings::second_signal),
    Test::new("a_flag_logs_the_start_and_end_of_each_connection", endings::log),
    Test::new("eight_clients_are_told_apart_by_ss_why_top_and_page", seeing::causes),
    Test::new("a_slow_reader_among_1000_is_found_with_two_commands", seeing::slow_reader),
    Test::new("the_control_socket_kills_sets_and_counts", seeing::changes),
    Test::new("tshark_reads_a_capture_by_the_control_socket", seeing::capture),
    Test::new("a_missing_control_socket_is_reported", seeing::nobody).without_interface(),
    Test::new("chromium_shows_what_limits_clients_and_kills_one", page::clients),
    Test::new("chromium_scrolls_through_10000_connections", page::many),
    Test::new("chromium_shows_the_ports_of_a_switch", page::switch).without_interface(),
    Test::new("curl_reads_metrics_on_a_port_of_the_stack", metrics::scraped),
    Test::new("promtool_finds_no_fault_in_the_metrics", metrics::checked),
    Test::new("under_run_curl_gets_20_mb_and_is_refused", clients::curl),
    Test::new("under_run_nc_closes_one_half", clients::netcat),
    Test::new("under_run_python_and_two_children_of_a_shell_connect", clients::scripts),
    Test::new("under_run_node_connects", clients::node),
    Test::new("under_run_a_static_busybox_connects", clients::busybox),
    Test::new("under_run_a_static_go_program_connects", clients::go_client),
    Test::new("under_run_python_serves_20_mb", run_servers::python),
    Test::new("under_run_redis_serves", run_servers::redis),
    Test::new("under_run_nginx_serves_with_two_processes", run_servers::nginx),
    Test::new("curl_gets_files_and_ranges_from_http_server", web::files),
    Test::new("wget_mirrors_http_server_and_continues_a_file", web::mirrored),
    Test::new("http_server_stores_files_of_curl_or_refuses_them", web::uploads),
    Test::new("curl_checks_the_certificate_of_http_server", web::https),
    Test::new("curl_goes_through_the_proxy_tool_in_each_form", proxying::proxies),
    Test::new("the_proxy_tool_carries_datagrams_by_socks5", proxying::datagrams),
    Test::new("the_proxy_tool_carries_what_it_intercepts", proxying::intercepted),
    Test::new("the_proxy_tool_has_1000_connections_at_once", proxying::many),
    Test::new("chromium_goes_through_the_proxy_tool", proxying::browser),
    Test::new("the_ping_tool_prints_and_exits_as_ping", talking::ping),
    Test::new("the_resolve_tool_prints_lines_or_json", talking::resolve),
    Test::new("the_fetch_tool_exits_as_curl", talking::fetch),
    Test::new("the_fetch_tool_tells_failures_apart_as_curl", talking::fetch_failures),
    Test::new("the_fetch_tool_follows_redirections", talking::fetch_redirected),
    Test::new("the_connect_tool_carries_streams_and_datagrams", talking::connect),
    Test::new("the_connect_tool_checks_certificates", talking::connect_tls),
    Test::new("the_listen_tool_carries_and_echoes", talking::listen),
    Test::new("each_tool_with_a_flag_for_json_prints_it", talking::json),
    Test::new("iperf3_tests_the_server_of_perf", perf::iperf3_as_client),
    Test::new("perf_tests_the_server_of_iperf3", perf::iperf3_as_server),
    Test::new("perf_tests_two_stacks_in_memory", perf::in_memory).without_interface(),
    Test::new("curl_gets_bytes_of_the_server_of_perf_and_posts_some", perf::with_curl),
    Test::new("perf_tests_itself_between_two_taps", perf::over_taps),
    Test::new("perf_tests_itself_over_our_vde_switch", perf::over_our_switch).without_interface(),
    Test::new("perf_tests_itself_over_debians_vde_switch", perf::over_debians_switch)
        .without_interface(),
    Test::new("both_ends_of_perf_end_by_an_interrupt", perf::interrupted),
    Test::new("each_wrong_flag_of_perf_names_its_cure", perf::usage).without_interface(),
    Test::new("under_run_iperf3_serves_and_sends_tcp_and_udp", run_servers::iperf3),
    Test::new("under_run_a_go_server_fails_none_of_22000_requests", load::go_server),
    Test::new("under_run_nginx_reloads_without_a_failed_request", load::nginx_reload),
    Test::new("under_run_redis_benchmark_finishes_on_both_sides", load::redis_benchmark),
    Test::new("under_run_node_serves_2500_requests", load::node_server),
    Test::new("under_run_ssh_runs_a_command_at_debians_sshd", remote::ssh),
    Test::new("under_run_git_clones_over_http", remote::git_clone),
    Test::new("under_run_curl_fetches_twenty_files_at_a_time", remote::parallel_curl),
    Test::new("under_run_sockets_behave_as_the_kernels", semantics::as_the_kernel),
    Test::new(
        "under_run_names_are_asked_of_the_stacks_servers",
        names::by_the_servers_of_the_stack,
    ),
    Test::new("under_run_missing_calls_and_options_fail", limits::calls),
    Test::new("under_run_an_unwatched_message_is_told_of", limits::unwatched_messages),
    Test::new("under_run_loopback_is_the_stacks", limits::loopback),
    Test::new("under_run_ip_changes_the_stack_as_it_does_the_kernel", netlink::changes),
    Test::new("under_run_ioctls_are_about_the_stacks_interfaces", interfaces::requests),
    Test::new("under_run_ifconfig_and_route_change_the_stack", interfaces::ifconfig),
    Test::new("under_run_ip_monitor_misses_none_of_1000_changes", netlink::monitor),
    Test::new("under_run_libraries_find_the_interfaces_of_the_stack", netlink::libraries),
    Test::new("under_run_ss_shows_sockets_as_on_the_kernel", diag::as_the_kernels),
    Test::new("under_run_ss_agrees_with_netstack_ss", diag::as_our_own),
    Test::new("under_run_ss_ends_connections", diag::ending),
    Test::new("under_run_join_ip_and_ss_work_on_a_running_server", join::ip_and_ss),
    Test::new("under_run_join_ip_monitor_tells_of_others_changes", join::monitor),
    Test::new("under_run_join_refuses_what_it_has_not", join::refusals),
    Test::new("under_run_join_curl_ping_and_nc_are_on_anothers_stack", join::programs),
    Test::new("under_run_join_256_programs_have_a_place", join::bound),
    Test::new("under_run_join_datagrams_and_notices_arrive", join::datagrams),
    Test::new("under_run_join_a_network_ends_with_its_stack", join::endings),
    Test::new("under_run_join_the_tutorial_of_vdestack_works", join::tutorial),
    Test::new("under_run_join_ip_and_ss_agree_with_the_kernels_and_our_own", join::agreement),
    Test::new("under_run_join_ip_monitor_misses_none_of_anothers_1000", join::many_changes),
    Test::new("under_run_a_socket_is_that_of_its_program", owners::programs),
    Test::new("under_run_ping_is_answered_over_both_families", ping::both_families),
    Test::new("under_run_ping_tells_of_no_answer_and_no_route", ping::without_an_answer),
    Test::new("under_run_icmp_sockets_send_and_receive_echoes", ping::by_hand),
    Test::new("under_run_netns_curl_gets_20_mb_and_is_refused", netns::curl),
    Test::new(
        "under_run_netns_sockets_behave_as_the_kernels",
        semantics::as_the_kernel_in_a_namespace,
    ),
    Test::new("under_run_netns_names_are_asked_of_the_stacks_servers", netns::names),
    Test::new("run_ends_with_the_status_of_the_program", run_endings::statuses),
    Test::new("run_lasts_as_long_as_a_descendant", run_endings::descendants),
    Test::new("run_forwards_signals_to_the_program", run_endings::signals),
    Test::new("a_killed_supervisor_takes_the_network_along", run_endings::supervisor_killed),
    Test::new("a_killed_supervisor_lets_no_packet_out", escape::supervisor_killed),
    Test::new("a_killed_program_closes_its_connections", run_endings::program_killed),
    Test::new("under_run_10000_connections_leave_nothing", run_endings::many_connections),
    Test::new(
        "run_needs_no_capability_for_an_interface_of_root",
        run_endings::without_capabilities,
    ),
    Test::new("wireguard_go_pings_a_stack_in_its_tunnel", wireguard::pings),
    Test::new("under_run_in_a_tunnel_curl_gets_100_mb_despite_loss", || {
        wireguard::curl("10.8.0.1")
    }),
    Test::new("over_ipv6_in_a_tunnel_curl_gets_100_mb_despite_loss", || {
        wireguard::curl("[fd08::1]")
    }),
    Test::new("in_a_tunnel_a_wrong_key_or_address_gets_nothing", wireguard::strangers),
    Test::new("a_connection_in_a_tunnel_outlives_moved_endpoints", wireguard::moves),
    Test::new("a_connection_in_a_tunnel_outlives_a_new_wireguard_go", wireguard::restart),
    Test::new("in_a_tunnel_names_are_asked_of_the_servers_of_its_file", wireguard::names),
    Test::new("mistakes_in_the_file_of_a_tunnel_are_named", wireguard::mistakes),
    Test::new("a_gateway_carries_streams_both_ways", gateway::carrying::streams),
    Test::new("a_gateway_refuses_what_the_destination_refuses", gateway::carrying::refusals),
    Test::new("a_gateway_passes_resets_on", gateway::carrying::resets),
    Test::new("a_gateway_bounds_the_connections_of_a_guest", gateway::carrying::bounds),
    Test::new("a_gateway_carries_datagrams_of_all_sizes", gateway::carrying::datagrams),
    Test::new("a_gateway_bounds_the_udp_sockets_of_a_guest", gateway::carrying::flows),
    Test::new("a_gateway_carries_pings", gateway::carrying::pings),
    Test::new("a_gateway_leads_to_loopback_where_allowed", gateway::carrying::loopback),
    Test::new("a_gateway_publishes_ports_of_a_guest", gateway::carrying::published),
    Test::new("a_gateway_leases_addresses_to_udhcpc", gateway::configuring::udhcpc),
    Test::new("a_gateway_answers_questions_for_names", gateway::configuring::names),
    Test::new("guests_of_a_gateway_reach_each_other", gateway::configuring::several),
    Test::new("peers_of_wireguard_go_are_guests_of_a_gateway", gateway::tunnel::peers),
    Test::new("a_gateway_in_a_tunnel_names_what_it_lacks", gateway::tunnel::mistakes),
    Test::new("a_guest_of_qemu_on_a_stream_socket_follows_another", guest::links::stream),
    Test::new("a_guest_of_qemu_outlives_a_stack_over_datagrams", guest::links::datagrams),
    Test::new("a_guest_of_qemu_is_on_a_switch_of_vde", guest::links::vde).without_interface(),
    Test::new("a_guest_of_qemu_outlives_its_gateway", guest::links::gateway),
    Test::new("a_c_server_echoes_while_addresses_change", c::echo),
    Test::new("a_c_server_echoes_with_epoll_and_over_udp", c::epoll),
    Test::new("a_c_program_has_two_stacks_and_the_kernel", c::side_by_side),
    Test::new("pkg_config_finds_the_shared_library_for_c", c::installed_shared),
    Test::new("pkg_config_finds_the_static_library_for_c", c::installed_static),
    Test::new("a_c_program_gets_its_address_by_dhcp", c::dhcp),
    Test::new("the_calls_of_the_c_api_return_what_they_should", c::calls),
    Test::new("c_programs_configure_a_stack_by_netlink", c::netlink),
    Test::new("c_programs_have_no_errors_under_valgrind", c::under_valgrind),
];

fn main() -> ExitCode {
    namespace::run(TESTS)
}
