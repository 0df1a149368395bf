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

/// The architecture whose system call numbers libc has here (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Offsets in `seccomp_data`. Both architectures are little endian: the low half of an argument
/// comes first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// Calls that are always the supervisor's to look at: it lets those for other descriptors through.
const ALWAYS: [libc::c_long; 9] = [
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

const MESSAGES: [libc::c_long; 4] =
    [libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg];

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
    // A program of another architecture, as a 32-bit one, has other numbers: none of its calls is
    // let through unseen.
    let mut filter = vec![load(ARCH), if_equal(ARCHITECTURE, 1, 0), fail(libc::ENOSYS)];
    filter.push(load(NUMBER));
    if cfg!(target_arch = "x86_64") {
        // The numbers of the x32 ABI, which has the same architecture.
        filter.extend([if_set(0x4000_0000, 0, 1), fail(libc::ENOSYS)]);
    }
    for number in ALWAYS {
        when(&mut filter, number, &[end(NOTIFY)]);
    }
    for number in MESSAGES.into_iter().filter(|_| messages == Messages::Notified) {
        when(&mut filter, number, &[end(NOTIFY)]);
    }
    // Its operations would bypass every other rule. Programs have a fallback for old kernels.
    when(&mut filter, libc::SYS_io_uring_setup, &[fail(libc::ENOSYS)]);
    when(&mut filter, libc::SYS_socket, &socket());
    // Without an address they are reads and writes of the descriptor.
    for number in [libc::SYS_sendto, libc::SYS_recvfrom] {
        when(&mut filter, number, &with_pointer(4));
    }
    filter.push(end(ALLOW));
    filter
}

/// The instructions for one call.
fn when(filter: &mut Vec<sock_filter>, number: libc::c_long, instructions: &[sock_filter]) {
    let len = u8::try_from(instructions.len()).expect("a call has few instructions");
    filter.push(if_equal(number as u32, 0, len));
    filter.extend_from_slice(instructions);
}

fn socket() -> Vec<sock_filter> {
    let mut filter = vec![load(argument(0))];
    for family in [libc::AF_INET, libc::AF_INET6] {
        filter.extend([if_equal(family as u32, 0, 1), end(NOTIFY)]);
    }
    for (family, errno) in AROUND_THE_STACK {
        filter.extend([if_equal(family as u32, 0, 1), fail(errno)]);
    }
    filter.push(end(ALLOW));
    filter
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
                JUMP_IF_SET => next += jump(accumulator & k != 0),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn ours(number: libc::c_long, arguments: [u64; 6], messages: Messages) -> u32 {
        verdict(&filter(messages), ARCHITECTURE, number as u32, arguments)
    }

    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn only_sockets_of_the_ip_families_are_notified() {
        let socket = |family: libc::c_int| {
            ours(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0], Messages::Untouched)
        };
        assert_eq!(socket(libc::AF_INET), NOTIFY);
        assert_eq!(socket(libc::AF_INET6), NOTIFY);
        assert_eq!(socket(libc::AF_UNIX), ALLOW);
        assert_eq!(socket(libc::AF_NETLINK), ALLOW);
        assert_eq!(socket(libc::AF_PACKET), libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
        assert_eq!(socket(AF_SMC), libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32);
    }

    #[test]
    fn data_without_an_address_is_not_notified() {
        for number in [libc::SYS_sendto, libc::SYS_recvfrom] {
            let with = |pointer| ours(number, [3, 1, 1, 0, pointer, 16], Messages::Untouched);
            assert_eq!(with(0), ALLOW);
            assert_eq!(with(0x1000), NOTIFY);
            assert_eq!(with(0x7fff_0000_0000), NOTIFY, "only the upper half is set");
        }
        assert_eq!(ours(libc::SYS_read, [0; 6], Messages::Notified), ALLOW);
        assert_eq!(ours(libc::SYS_close, [0; 6], Messages::Notified), ALLOW);
    }

    #[test]
    fn messages_are_notified_when_asked_for() {
        for number in MESSAGES {
            assert_eq!(ours(number, [0; 6], Messages::Untouched), ALLOW);
            assert_eq!(ours(number, [0; 6], Messages::Notified), NOTIFY);
        }
    }

    #[test]
    fn foreign_calls_and_io_uring_do_not_exist() {
        assert_eq!(ours(libc::SYS_io_uring_setup, [0; 6], Messages::Untouched), ENOSYS);
        // The numbers of i386, where 102 is socketcall.
        let program = filter(Messages::Untouched);
        assert_eq!(verdict(&program, 0x4000_0003, 102, [0; 6]), ENOSYS);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_of_the_x32_abi_do_not_exist() {
        let socket = 0x4000_0000 | libc::SYS_socket as u32;
        let program = filter(Messages::Untouched);
        assert_eq!(verdict(&program, ARCHITECTURE, socket, [2, 1, 0, 0, 0, 0]), ENOSYS);
    }
}
