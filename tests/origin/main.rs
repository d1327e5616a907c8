//! Real clients and servers of OpenSSH, and what their requests are taken for.

mod lab;
mod recorder;

use hardkey::origin::classify::Origin;
use hardkey::origin::classify::Origin::{ForwardedKnownHop, ForwardedVerified, LocalDirect, LocalTool, Unknown};
use hardkey::origin::facts::Certainty;
use lab::Lab;
use recorder::Record;

#[test]
fn a_plain_login_is_local() {
    let lab = Lab::new();
    let records = lab.run("ssh hosta true");
    assert_eq!(short(&records), [("list", LocalDirect), ("bound-login", LocalDirect)], "{records:#?}");
    let records = lab.run("ssh -vv -o Compression=yes -t hostb 'true; true' 2>/dev/null");
    assert_eq!(signed(&records), [LocalDirect]);
}

#[test]
fn logins_through_jump_hosts_and_of_scp_and_sftp_are_local() {
    let lab = Lab::new();
    assert_eq!(signed(&lab.run("ssh -o ProxyCommand='ssh -W localhost:%p hosta' hostb true")), [LocalDirect; 2]);
    assert_eq!(signed(&lab.run("scp -q -F $LAB/config $LAB/config hosta:/dev/null")), [LocalDirect]);
    assert_eq!(signed(&lab.run("echo pwd | sftp -q -F $LAB/config -b - hosta")), [LocalDirect]);
    assert_eq!(signed(&lab.run("cd $LAB && /usr/bin/ssh -F config hosta true")), [LocalDirect], "relative -F");
}

#[test]
fn keys_that_the_configuration_of_ssh_names_are_known_when_it_asks_for_the_list() {
    use base64ct::{Base64, Encoding as _};
    let lab = Lab::new();
    let records = lab.run("ssh -i $LAB/file_key hosta true");
    let line = std::fs::read_to_string(lab.path("file_key.pub")).expect("key");
    let key = Base64::decode_vec(line.split(' ').nth(1).expect("octets")).expect("base 64");
    assert_eq!((records[0].short().0, &records[0].named), ("list", &vec![key]));
    assert_eq!(lab.run("ssh-add -l")[0].named, Vec::<Vec<u8>>::new());
}

#[test]
fn a_login_to_a_host_that_is_not_known_is_not_certain_to_be_local() {
    let lab = Lab::new();
    let records = lab.run("ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null hosta true");
    assert_eq!(signed(&records), [Unknown]);
    assert!(records[1].judgement.reason.contains("host key is not known"), "{records:#?}");
}

#[test]
fn tools_that_cannot_relay_are_local() {
    let lab = Lab::new();
    assert_eq!(short(&lab.run("ssh-add -l")), [("list", LocalTool)]);
    let public = lab.path("recorder.pub");
    std::fs::write(&public, lab.recorder.public_key()).expect("public key");
    let records = lab.run("echo text | ssh-keygen -Y sign -n file -f $LAB/recorder.pub >/dev/null 2>&1");
    assert_eq!(short(&records).last(), Some(&("sshsig", LocalTool)));
    assert_eq!(short(&lab.run("ssh-add -T $LAB/recorder.pub")).last(), Some(&("raw", LocalTool)));
    assert_eq!(short(&lab.run("ssh-add -D 2>/dev/null")), [("manage", LocalTool)]);
}

#[test]
fn a_key_that_ssh_adds_during_its_login_is_added_locally() {
    let lab = Lab::new();
    let records = lab.run("ssh -o AddKeysToAgent=yes -o IdentitiesOnly=yes -i $LAB/file_key hosta true");
    assert_eq!(short(&records).last(), Some(&("manage", LocalDirect)), "{records:#?}");
}

#[test]
fn a_forwarded_agent_is_known_to_be_forwarded_and_by_whom() {
    let lab = Lab::new();
    let records = lab.run("ssh -A hosta 'ssh-add -l && ssh hostb true'");
    let expected = [
        ("list", LocalDirect),
        ("bound-login", LocalDirect),
        ("list", ForwardedKnownHop),
        ("list", ForwardedKnownHop),
        ("bound-login", ForwardedVerified),
    ];
    assert_eq!(short(&records), expected, "{records:#?}");
    let two_hops = lab.run("ssh -A hosta 'ssh -A hostb \"ssh hosta true\"'");
    assert_eq!(signed(&two_hops), [LocalDirect, ForwardedVerified, ForwardedVerified]);
}

#[test]
fn what_people_are_told_of_a_request_are_names_of_this_machine_and_how_certain_they_are() {
    let lab = Lab::new();
    // Names that are hashed are found by asking for those that are known otherwise.
    lab.output("ssh-keygen -q -H -f $LAB/known_hosts 2>/dev/null; rm $LAB/known_hosts.old");
    let records = lab.run("ssh -A hosta 'ssh -A hostb \"ssh hosta true\"'; ssh hostb true");
    let told = |index: usize| {
        let facts = &records[index].facts;
        let hops = facts.hops.iter().chain(&facts.target);
        hops.map(|hop| (hop.host.shown(), hop.certainty)).collect::<Vec<_>>()
    };
    let (a, b) = ("hosta".to_owned(), lab.output("ssh-keygen -lf $LAB/hostb.pub | cut -d' ' -f2").stdout);
    let not_met = format!("a host that is not known, {}", String::from_utf8_lossy(&b).trim());
    let logins = |index: &usize| records[*index].short().0 == "bound-login";
    let logins: Vec<usize> = (0..records.len()).filter(logins).collect();
    let (proved, claimed) = (Certainty::Proved, Certainty::Claimed);
    assert_eq!(told(logins[0]), [(a.clone(), proved)]);
    assert_eq!(told(logins[1]), [(a.clone(), proved), (not_met.clone(), proved)]);
    assert_eq!(told(logins[2]), [(a.clone(), proved), (not_met, claimed), (a, proved)]);
    assert_eq!(told(logins[3]), [("hostb".to_owned(), proved)]);

    let facts = &records[logins[0]].facts;
    let line = facts.target.as_ref().and_then(|target| target.host.names[0].place.clone());
    assert_eq!(line.map(|place| place.line), Some(1), "{facts:?}");
    let asker = facts.asker.as_ref().expect("a process");
    assert!(asker.chain().starts_with("ssh <- "), "{}", asker.chain());
    assert!(asker.command().contains(" -A hosta "), "{}", asker.command());
    assert_eq!(asker.variable("SSH_AUTH_SOCK"), Some(lab.path("agent.sock").as_os_str()));
}

#[test]
fn what_arrives_at_the_forward_socket_is_forwarded() {
    let lab = Lab::new();
    let records = lab.run("ssh -o ForwardAgent=$LAB/forward.sock hosta 'ssh hostb true'");
    assert_eq!(signed(&records), [LocalDirect, ForwardedVerified]);
    // Own login by another agent: the first hop is then proved by this ssh's own destination.
    let script = "ssh-agent sh -c 'ssh-add -q $LAB/file_key; \
                  ssh -o ForwardAgent=$LAB/forward.sock hosta \"ssh hostb true\"'";
    assert_eq!(signed(&lab.run(script)), [ForwardedVerified]);
    let records = lab.run("SSH_AUTH_SOCK=$LAB/forward.sock ssh hosta true");
    assert_eq!(signed(&records), [Origin::ForwardedUnverified]);
}

#[test]
fn a_socket_relayed_by_ssh_r_is_never_local() {
    let lab = Lab::new();
    let records = lab.run("ssh -R $LAB/r.sock:$LAB/agent.sock hosta 'export SSH_AUTH_SOCK=$LAB/r.sock; ssh hostb true && ssh-add -l && ssh hosta true'");
    // Its own login is refused its certainty as well: this ssh lets the far side reach the agent.
    assert_eq!(signed(&records), [Unknown; 3], "{records:#?}");
    assert!(records.iter().all(|record| record.judgement.origin == Unknown), "{records:#?}");
}

#[test]
fn a_relay_by_an_ssh_that_does_not_use_this_agent_itself_is_not_local_either() {
    let lab = Lab::new();
    let script = "ssh -o IdentityAgent=none -i $LAB/file_key -R $LAB/r.sock:$LAB/agent.sock hosta 'SSH_AUTH_SOCK=$LAB/r.sock ssh hosta true'";
    let records = lab.run(script);
    assert_eq!(signed(&records), [Unknown]);
    let reason = &records[1].judgement.reason;
    assert!(reason.contains("does not ask this socket"), "{reason}");
}

#[test]
fn a_master_in_the_background_serves_the_far_side() {
    let lab = Lab::new();
    let master = "ssh -A -S $LAB/ctl -M -o ControlPersist=60 hosta true";
    assert_eq!(signed(&lab.run(master)), [LocalDirect]);
    // The first hop is recognised by the session that was logged in with, though the process is another.
    let forwarded = lab.run("ssh -A -S $LAB/ctl hosta 'ssh hostb true'");
    assert_eq!(signed(&forwarded), [ForwardedVerified]);
    lab.run("ssh -S $LAB/ctl -O forward -R $LAB/late.sock:$LAB/agent.sock hosta");
    let relayed = lab.run("ssh -S $LAB/ctl hosta 'SSH_AUTH_SOCK=$LAB/late.sock ssh hosta true'");
    assert_eq!(signed(&relayed), [Unknown]);
    lab.run("ssh -S $LAB/ctl -O exit hosta 2>/dev/null");
}

#[test]
fn an_ssh_that_went_into_the_background_serves_the_far_side() {
    let lab = Lab::new();
    // The command line says -R, so D9 alone would do; what is shown is that the fork is seen.
    let script = "mkfifo $LAB/done; ssh -f -R $LAB/r.sock:$LAB/agent.sock hosta \
                  'SSH_AUTH_SOCK=$LAB/r.sock ssh hosta true; echo done >$LAB/done' && read done <$LAB/done";
    let records = lab.run(script);
    assert_eq!(signed(&records), [Unknown; 2]);
    let relayed = &records.last().expect("a login").judgement.reason;
    assert!(relayed.contains("fork of an ssh that has logged in"), "{relayed}");
}

#[test]
fn other_relays_are_not_local() {
    let lab = Lab::new();
    let socat = "exec socat UNIX-LISTEN:$LAB/relay.sock,fork UNIX-CONNECT:$LAB/agent.sock";
    let records = lab.run_behind(socat, "ssh hosta true");
    assert_eq!(signed(&records), [Unknown], "{records:#?}");
    // Into this machine by ssh -L: what connects to the agent is this machine's sshd.
    let inbound = "exec ssh -N -o IdentityAgent=none -i $LAB/file_key -L $LAB/relay.sock:$LAB/agent.sock hostb";
    let records = lab.run_behind(inbound, "ssh hosta true");
    assert_eq!(signed(&records), [Unknown], "{records:#?}");
}

#[test]
fn other_clients_are_not_certain_to_be_local() {
    let lab = Lab::new();
    let key = std::fs::read_to_string(lab.path("hosta.pub")).expect("host key");
    std::fs::write(lab.path("plink.pub"), key).expect("host key");
    let user = lab.output("id -un").stdout;
    let user = String::from_utf8(user).expect("user");
    let (user, port) = (user.trim(), lab.port(0));
    let fingerprint = lab.output("ssh-keygen -lf $LAB/hosta.pub | cut -d' ' -f2").stdout;
    let fingerprint = String::from_utf8(fingerprint).expect("fingerprint");
    let records =
        lab.run(&format!("plink -batch -hostkey {} -P {port} {user}@127.0.0.1 true </dev/null", fingerprint.trim()));
    assert!(
        !signed(&records).is_empty() && records.iter().all(|record| record.judgement.origin == Unknown),
        "{records:#?}"
    );
}

#[test]
fn an_ssh_in_another_process_namespace_is_not_local() {
    let lab = Lab::new();
    if !lab.output("unshare --pid --fork true").status.success() {
        eprintln!("skipped: no right to make namespaces");
        return;
    }
    let records = lab.run("unshare --pid --fork ssh hosta true");
    assert_eq!(signed(&records), [Unknown]);
    assert!(records[1].judgement.reason.contains("namespace"), "{records:#?}");
}

#[test]
fn another_user_s_program_is_not_local() {
    let lab = Lab::new();
    let as_nobody = "chmod 777 $LAB $LAB/agent.sock; setpriv --reuid=65534 --clear-groups";
    if !lab.output(&format!("{as_nobody} true")).status.success() {
        eprintln!("skipped: no right to become another user");
        return;
    }
    assert_eq!(short(&lab.run(&format!("{as_nobody} ssh-add -l"))), [("list", Unknown)]);
}

fn short(records: &[Record]) -> Vec<(&'static str, Origin)> {
    records.iter().map(Record::short).collect()
}

/// The classes of the signatures among the records.
fn signed(records: &[Record]) -> Vec<Origin> {
    let signatures = records.iter().map(Record::short).filter(|(word, _)| !matches!(*word, "list" | "manage"));
    signatures.map(|(_, origin)| origin).collect()
}
