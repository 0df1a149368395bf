//! The seccomp filter: which system calls of the program the supervisor answers.

use libc::sock_filter;

/// The calls that no other front can see: the addresses of datagrams in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Messages {
    /// `sendmsg` and its like go to the kernel.
    Untouched,
    /// They stop at the supervisor, whichever descriptor they are for.
    Notified,
}

/// An architecture, and the numbers of the system calls that the filter looks at there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    /// Its number (linux/audit.h).
    audit: u32,
    /// Calls that are always the supervisor's to look at: it lets those for other descriptors
    /// through.
    always: [u32; 9],
    /// `sendmsg` and its like.
    messages: [u32; 4],
    /// Calls that send and receive, with or without an address.
    datagrams: [u32; 2],
    socket: u32,
    ioctl: u32,
    io_uring_setup: u32,
    /// A bit of the numbers of a second ABI with the same number for the architecture.
    second_abi: Option<u32>,
}

/// arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(any(test, target_arch = "x86_64"))]
const X86_64: Architecture = Architecture {
    audit: 0xC000_003E,
    always: [42, 49, 50, 43, 288, 51, 52, 54, 55],
    messages: [46, 47, 307, 299],
    datagrams: [44, 45],
    socket: 41,
    ioctl: 16,
    io_uring_setup: 425,
    // x32.
    second_abi: Some(0x4000_0000),
};
/// include/uapi/asm-generic/unistd.h, likewise.
#[cfg(any(test, target_arch = "aarch64"))]
const AARCH64: Architecture = Architecture {
    audit: 0xC000_00B7,
    always: [203, 200, 201, 202, 242, 204, 205, 208, 209],
    messages: [211, 212, 269, 243],
    datagrams: [206, 207],
    socket: 198,
    ioctl: 29,
    io_uring_setup: 425,
    second_abi: None,
};

#[cfg(target_arch = "x86_64")]
const OWN: Architecture = X86_64;
#[cfg(target_arch = "aarch64")]
const OWN: Architecture = AARCH64;

/// Offsets in `seccomp_data`. Both architectures are little endian: the low half of an argument
/// comes first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// Families whose sockets carry data over the kernel's IP network, or see it, in ways that are not
/// the program's own addresses: with them a program would leave the stack unnoticed.
const AROUND_THE_STACK: [(libc::c_int, libc::c_int); 7] = [
    (libc::AF_PACKET, libc::EPERM),
    (libc::AF_XDP, libc::EPERM),
    (AF_SMC, libc::EAFNOSUPPORT),
    (libc::AF_RDS, libc::EAFNOSUPPORT),
    (libc::AF_RXRPC, libc::EAFNOSUPPORT),
    (libc::AF_TIPC, libc::EAFNOSUPPORT),
    (AF_KCM, libc::EAFNOSUPPORT),
];
/// From linux/socket.h; libc has them for some architectures only.
const AF_KCM: libc::c_int = 41;
const AF_SMC: libc::c_int = 43;

/// Makes the filter.
pub(crate) fn filter(messages: Messages) -> Vec<sock_filter> {
    filter_for(&OWN, messages)
}

fn filter_for(architecture: &Architecture, messages: Messages) -> Vec<sock_filter> {
    // A program of another architecture, as a 32-bit one, has other numbers: none of its calls is
    // let through unseen.
    let mut filter = vec![load(ARCH), if_equal(architecture.audit, 1, 0), fail(libc::ENOSYS)];
    filter.push(load(NUMBER));
    if let Some(bit) = architecture.second_abi {
        filter.extend([if_set(bit, 0, 1), fail(libc::ENOSYS)]);
    }
    for number in architecture.always {
        when(&mut filter, number, &[end(NOTIFY)]);
    }
    for number in architecture.messages.into_iter().filter(|_| messages == Messages::Notified) {
        when(&mut filter, number, &[end(NOTIFY)]);
    }
    // Its operations would bypass every other rule. Programs have a fallback for old kernels.
    when(&mut filter, architecture.io_uring_setup, &[fail(libc::ENOSYS)]);
    when(&mut filter, architecture.socket, &socket());
    when(&mut filter, architecture.ioctl, &ioctl());
    // Without an address they are reads and writes of the descriptor.
    for number in architecture.datagrams {
        when(&mut filter, number, &with_pointer(4));
    }
    filter.push(end(ALLOW));
    filter
}

/// The instructions for one call.
fn when(filter: &mut Vec<sock_filter>, number: u32, instructions: &[sock_filter]) {
    let len = u8::try_from(instructions.len()).expect("a call has few instructions");
    filter.push(if_equal(number, 0, len));
    filter.extend_from_slice(instructions);
}

fn socket() -> Vec<sock_filter> {
    let mut filter = vec![load(argument(0))];
    for family in [libc::AF_INET, libc::AF_INET6] {
        filter.extend([if_equal(family as u32, 0, 1), end(NOTIFY)]);
    }
    filter.push(if_equal(libc::AF_NETLINK as u32, 0, 5));
    filter.push(load(argument(2)));
    filter.push(if_equal(libc::NETLINK_ROUTE as u32, 1, 0));
    filter.push(if_equal(libc::NETLINK_SOCK_DIAG as u32, 0, 1));
    filter.extend([end(NOTIFY), end(ALLOW)]);
    for (family, errno) in AROUND_THE_STACK {
        filter.extend([if_equal(family as u32, 0, 1), fail(errno)]);
    }
    filter.push(end(ALLOW));
    filter
}

/// Notifies of the requests to sockets that are about interfaces and routes (linux/sockios.h), and about
/// radio (linux/wireless.h): every socket takes them, of whichever family.
fn ioctl() -> [sock_filter; 7] {
    [
        load(argument(1)),
        sock_filter { code: AND, jt: 0, jf: 0, k: !0xff },
        if_equal(0x8900, 0, 1),
        end(NOTIFY),
        if_equal(0x8b00, 0, 1),
        end(NOTIFY),
        end(ALLOW),
    ]
}

/// Notifies if this argument, a pointer, is not null.
fn with_pointer(index: u32) -> [sock_filter; 6] {
    [
        load(argument(index)),
        if_equal(0, 0, 3),
        load(argument(index) + 4),
        if_equal(0, 0, 1),
        end(ALLOW),
        end(NOTIFY),
    ]
}

fn argument(index: u32) -> u32 {
    ARGUMENTS + 8 * index
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn if_equal(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: JUMP_IF_EQUAL, jt, jf, k }
}

fn if_set(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: JUMP_IF_SET, jt, jf, k }
}

fn end(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

fn fail(errno: libc::c_int) -> sock_filter {
    end(libc::SECCOMP_RET_ERRNO | errno as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with this call.
    fn verdict(filter: &[sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number, arch, 0, 0].to_vec();
        data.extend(arguments.iter().flat_map(|it| [*it as u32, (*it >> 32) as u32]));
        let (mut next, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter[next];
            next += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => accumulator = data[k as usize / 4],
                JUMP_IF_EQUAL => next += jump(accumulator == k),
                AND => accumulator &= k,
                JUMP_IF_SET => next += jump(accumulator & k != 0),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// What the filter for an architecture does with a call there.
    fn there(on: &Architecture, number: u32, arguments: [u64; 6], messages: Messages) -> u32 {
        verdict(&filter_for(on, messages), on.audit, number, arguments)
    }

    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    const BOTH: [Architecture; 2] = [X86_64, AARCH64];

    #[test]
    fn the_numbers_of_this_architecture_are_those_of_libc() {
        let numbers =
            |calls: &[libc::c_long]| calls.iter().map(|it| *it as u32).collect::<Vec<_>>();
        let always = [
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_accept4,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_setsockopt,
            libc::SYS_getsockopt,
        ];
        let messages =
            [libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg];
        assert_eq!(OWN.always.to_vec(), numbers(&always));
        assert_eq!(OWN.messages.to_vec(), numbers(&messages));
        assert_eq!(OWN.datagrams.to_vec(), numbers(&[libc::SYS_sendto, libc::SYS_recvfrom]));
        let others = [libc::SYS_socket, libc::SYS_ioctl, libc::SYS_io_uring_setup];
        assert_eq!(vec![OWN.socket, OWN.ioctl, OWN.io_uring_setup], numbers(&others));
    }

    #[test]
    fn no_number_stands_for_two_calls() {
        for on in BOTH {
            let mut all = [on.socket, on.ioctl, on.io_uring_setup].to_vec();
            all.extend(on.always.into_iter().chain(on.messages).chain(on.datagrams));
            let distinct: std::collections::HashSet<_> = all.iter().collect();
            assert_eq!(distinct.len(), all.len(), "{on:?}");
        }
    }

    #[test]
    fn calls_about_sockets_are_always_notified() {
        for on in BOTH {
            for number in on.always {
                assert_eq!(there(&on, number, [0; 6], Messages::Untouched), NOTIFY, "{number}");
            }
        }
    }

    #[test]
    fn sockets_of_ip_and_of_netlink_about_it_are_notified() {
        for on in BOTH {
            let of = |family: libc::c_int, protocol: libc::c_int| {
                let arguments = [family as u64, 1, protocol as u64, 0, 0, 0];
                there(&on, on.socket, arguments, Messages::Untouched)
            };
            let socket = |family| of(family, 0);
            assert_eq!(of(libc::AF_NETLINK, libc::NETLINK_ROUTE), NOTIFY);
            assert_eq!(of(libc::AF_NETLINK, libc::NETLINK_SOCK_DIAG), NOTIFY);
            assert_eq!(of(libc::AF_NETLINK, libc::NETLINK_KOBJECT_UEVENT), ALLOW);
            assert_eq!(socket(libc::AF_INET), NOTIFY);
            assert_eq!(socket(libc::AF_INET6), NOTIFY);
            assert_eq!(socket(libc::AF_UNIX), ALLOW);
            assert_eq!(socket(libc::AF_PACKET), libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
            assert_eq!(socket(AF_SMC), libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32);
        }
    }

    #[test]
    fn data_without_an_address_is_not_notified() {
        for on in BOTH {
            for number in on.datagrams {
                let with =
                    |pointer| there(&on, number, [3, 1, 1, 0, pointer, 16], Messages::Untouched);
                assert_eq!(with(0), ALLOW);
                assert_eq!(with(0x1000), NOTIFY);
                assert_eq!(with(0x7fff_0000_0000), NOTIFY, "only the upper half is set");
            }
            // read and close of both architectures.
            for number in [0, 3, 57, 63] {
                assert_eq!(there(&on, number, [0; 6], Messages::Notified), ALLOW);
            }
        }
    }

    #[test]
    fn requests_about_interfaces_are_notified() {
        for on in BOTH {
            let of = |request| there(&on, on.ioctl, [3, request, 1, 0, 0, 0], Messages::Untouched);
            // SIOCADDRT, SIOCSIFMTU, SIOCDEVPRIVATE and SIOCSIWFREQ; the kernel ignores the upper half.
            for request in [0x890b, 0x8922, 0x89f0, 0x8b04, 0xffff_ffff_0000_8914] {
                assert_eq!(of(request), NOTIFY, "{request:#x}");
            }
            // TCGETS, FIONREAD, TUNSETIFF.
            for request in [0x5401, 0x541b, 0x4004_54ca] {
                assert_eq!(of(request), ALLOW, "{request:#x}");
            }
        }
    }

    #[test]
    fn messages_are_notified_when_asked_for() {
        for on in BOTH {
            for number in on.messages {
                assert_eq!(there(&on, number, [0; 6], Messages::Untouched), ALLOW);
                assert_eq!(there(&on, number, [0; 6], Messages::Notified), NOTIFY);
            }
        }
    }

    #[test]
    fn foreign_calls_and_io_uring_do_not_exist() {
        for on in BOTH {
            assert_eq!(there(&on, on.io_uring_setup, [0; 6], Messages::Untouched), ENOSYS);
            let program = filter_for(&on, Messages::Untouched);
            // i386, where 102 is socketcall, and 32-bit ARM, where 281 is socket.
            assert_eq!(verdict(&program, 0x4000_0003, 102, [0; 6]), ENOSYS);
            assert_eq!(verdict(&program, 0x4000_0028, 281, [2, 1, 0, 0, 0, 0]), ENOSYS);
        }
    }

    #[test]
    fn calls_of_the_x32_abi_do_not_exist() {
        let number = 0x4000_0000 | X86_64.socket;
        let ip = [2, 1, 0, 0, 0, 0];
        assert_eq!(there(&X86_64, number, ip, Messages::Untouched), ENOSYS);
    }
}
