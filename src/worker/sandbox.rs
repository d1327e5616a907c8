//! What a module may not do to the rest of the machine, whatever it has been made to do: enforced by the kernel, before the module is loaded.
//!
//! Modules speak to readers, services and devices over sockets, D-Bus and files of their own, and nobody but their makers knows which. So
//! what is taken from them is what none of them needs to sign: to start programs, to look into other processes, to change the system, and,
//! unless the user says otherwise, the network. Reading is left alone, and writing unless the user names the folders for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
    make_bitflags,
};
use rustix::process::{Resource, Rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::ipc::Sandbox;

/// The rights on files that are meant here; kernels that know fewer enforce those.
const RIGHTS: ABI = ABI::V5;
/// A module may have this many times as much memory as it is ended for afterwards, so that one call cannot take all there is.
const HARD_FACTOR: u64 = 4;
/// System calls that act on other processes, on the system, or around the rules for sockets.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];
/// Families of sockets that lead out of the machine. Netlink stays: libraries for USB devices use it.
const NETWORK: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET, libc::AF_VSOCK];

/// Puts a filter that lets everything pass before this process and all that it will start, for ever: so the agent tells them from what the
/// user starts, also where modules are not confined. Where there are no filters, their parents have to tell.
pub(super) fn mark() {
    drop(apply(BTreeMap::new()));
}

/// Confines this thread and those it will start, for ever.
///
/// # Errors
/// The kernel refuses what it should know; a text. A kernel without Landlock, or a machine that filters cannot be written for, is no error.
pub(super) fn enter(sandbox: &Sandbox) -> Result<(), String> {
    limit_memory(sandbox.memory)?;
    if !sandbox.enabled {
        return Ok(());
    }
    confine_files(sandbox).map_err(|error| format!("landlock: {error}"))?;
    filter_calls(sandbox).map_err(|error| format!("seccomp: {error}"))
}

fn limit_memory(mebibytes: u64) -> Result<(), String> {
    let most = Some(mebibytes.saturating_mul(1 << 20).saturating_mul(HARD_FACTOR));
    let limit = Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(Resource::Data, limit).map_err(|error| format!("limit of memory: {error}"))
}

fn confine_files(sandbox: &Sandbox) -> Result<(), landlock::RulesetError> {
    let mut handled = make_bitflags!(AccessFs::{MakeChar | MakeBlock});
    if !sandbox.run {
        handled |= AccessFs::Execute;
    }
    let writing: BitFlags<AccessFs> = AccessFs::from_write(RIGHTS) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock});
    if sandbox.write.is_some() {
        handled |= writing;
    }
    let mut rules = Ruleset::default().handle_access(handled)?.scope(Scope::Signal)?.create()?;
    // Devices stay: some are the token, others the terminal's.
    let devices = PathBuf::from("/dev");
    for folder in sandbox.write.iter().flatten().chain(sandbox.write.as_ref().map(|_| &devices)) {
        // One that is not there cannot be written to.
        if let Ok(opened) = PathFd::new(folder) {
            rules = rules.add_rule(PathBeneath::new(opened, writing))?;
        }
    }
    rules.restrict_self().map(drop)
}

fn filter_calls(sandbox: &Sandbox) -> Result<(), seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FORBIDDEN.iter().map(|call| (number(*call), Vec::new())).collect();
    if !sandbox.run {
        rules.extend([libc::SYS_execve, libc::SYS_execveat].map(|call| (number(call), Vec::new())));
    }
    if !sandbox.network {
        let family = |family: libc::c_int| {
            let family = u64::from(family.unsigned_abs());
            SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?])
        };
        let families =
            NETWORK.into_iter().map(family).collect::<Result<_, _>>().map_err(seccompiler::Error::Backend)?;
        rules.insert(number(libc::SYS_socket), families);
    }
    apply(rules)
}

/// Has the kernel refuse what the rules match.
fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>) -> Result<(), seccompiler::Error> {
    let Ok(machine) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).map_err(seccompiler::Error::Backend)?;
    let program: BpfProgram = filter.try_into().map_err(seccompiler::Error::Backend)?;
    seccompiler::apply_filter(&program)
}

#[allow(clippy::useless_conversion, reason = "shorter on machines with 32 bits")]
fn number(call: libc::c_long) -> i64 {
    call.into()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// What a thread can do inside: run a program, open a network socket, write into a folder.
    fn tries(sandbox: Sandbox) -> [bool; 3] {
        let name = format!("hardkey-sandbox-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("file");
        let inside = std::thread::spawn(move || {
            // The limit of memory is the whole process's, so it is left out here.
            confine_files(&sandbox).expect("landlock");
            filter_calls(&sandbox).expect("seccomp");
            assert!(UnixDatagram::unbound().is_ok() && std::fs::read("/etc/passwd").is_ok(), "what modules need");
            let runs = Command::new("/bin/true").status().is_ok_and(|status| status.success());
            [runs, TcpListener::bind(("127.0.0.1", 0)).is_ok(), std::fs::write(file, "x").is_ok()]
        });
        let outcome = inside.join().expect("the thread ends well");
        std::fs::remove_dir_all(&folder).expect("remove the folder");
        outcome
    }

    #[test]
    fn a_mark_is_told_by_the_kernel_and_hinders_nothing() {
        let filters = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
            let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).expect("a count");
            count.trim().parse::<u32>().expect("a number")
        };
        let inside = std::thread::spawn(move || {
            // Which filters need of whoever is not root.
            rustix::thread::set_no_new_privs(true).expect("no new privileges");
            let before = filters();
            mark();
            assert_eq!(filters(), before + 1);
            assert!(Command::new("/bin/true").status().is_ok_and(|status| status.success()));
        });
        inside.join().expect("the thread ends well");
    }

    #[test]
    fn a_module_runs_nothing_and_reaches_no_network_unless_the_user_lets_it() {
        assert_eq!(tries(Sandbox::default()), [false, false, true]);
        assert_eq!(tries(Sandbox { run: true, network: true, ..Sandbox::default() }), [true, true, true]);
    }

    #[test]
    fn a_module_writes_only_where_the_user_says_so_if_he_does() {
        let only = |folders: &[&str]| Sandbox {
            write: Some(folders.iter().map(PathBuf::from).collect()),
            ..Sandbox::default()
        };
        let temporary = std::env::temp_dir();
        assert!(!tries(only(&["/nowhere"]))[2]);
        assert!(tries(only(&[&temporary.to_string_lossy()]))[2]);
    }
}
