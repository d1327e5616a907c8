use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::origin::effective_config::{AgentSocket, RemoteTarget};
use crate::origin::testing::Scratch;
use crate::origin::trust::Trust;

#[tokio::test]
async fn the_real_ssh_tells_where_it_goes() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "config",
        "Host short\n HostName Long.Example\n Port 2222\n User deploy\n HostKeyAlias alias\n IdentityAgent ${HOME}/agent.sock\n\
         RemoteForward /there.sock ${HOME}/here.sock\n RemoteForward 1080\n RemoteForward 99 localhost:22\n\
         UserKnownHostsFile /k1 /k2\n GlobalKnownHostsFile /g\n ControlPersist 10m\n IdentityFile /id\n",
    );
    let config =
        ask(&["-F", &file.to_string_lossy(), "short", "cmd"], &[("HOME", "/home/u")]).await.expect("configuration");
    assert_eq!((config.hostname.as_str(), config.port, config.user.as_str()), ("long.example", 2222, "deploy"));
    assert_eq!(config.host_key_alias.as_deref(), Some("alias"));
    assert_eq!(config.known_hosts, ["/k1", "/k2", "/g"].map(PathBuf::from));
    assert_eq!(config.identity_agent, AgentSocket::Path("/home/u/agent.sock".into()));
    assert_eq!(config.forward_agent, AgentSocket::None);
    let forwards = [RemoteTarget::Unix("/home/u/here.sock".into()), RemoteTarget::Socks, RemoteTarget::Tcp];
    assert_eq!(config.remote_forwards, forwards);
    assert_eq!(config.identity_files, ["/id"]);
    assert!(config.backgrounds && !config.gssapi_key_exchange);
}

#[tokio::test]
async fn the_command_line_outweighs_the_file() {
    let config = ask(&["-F", "none", "-A", "-f", "-p", "7", "-R", "/r:/l", "-l", "me", "host", "true"], &[])
        .await
        .expect("configuration");
    assert_eq!((config.hostname.as_str(), config.port, config.user.as_str()), ("host", 7, "me"));
    assert_eq!(config.forward_agent, AgentSocket::Default);
    assert_eq!(config.remote_forwards, [RemoteTarget::Unix("/l".into())]);
    assert!(config.backgrounds);
}

#[tokio::test]
async fn what_decides_in_the_peer_s_environment_decides_here_but_the_loader_s_variables_do_not() {
    let scratch = Scratch::new();
    let file =
        scratch.write("config", "Match exec \"test x$PLACE = xoffice && test -z $LD_SPICE\"\n HostName office\n");
    let file = file.to_string_lossy();
    let environment = [("PLACE", "office"), ("LD_SPICE", "x"), ("PATH", "/usr/bin:/bin")];
    assert_eq!(ask(&["-F", &file, "h"], &environment).await.expect("configuration").hostname, "office");
    assert_eq!(ask(&["-F", &file, "h"], &[]).await.expect("configuration").hostname, "h");
}

#[tokio::test]
async fn a_configuration_that_hangs_is_given_up_in_time() {
    let scratch = Scratch::new();
    let file = scratch.write("config", "Match exec \"sleep 600\"\n HostName x\n");
    let start = Instant::now();
    let error = ask(&["-F", &file.to_string_lossy(), "h"], &[("PATH", "/usr/bin:/bin")]).await.expect_err("unknown");
    assert!(error.reason().ends_with("did not answer within 500ms"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_configuration_that_ssh_refuses_is_unknown_with_ssh_s_words_escaped() {
    let scratch = Scratch::new();
    let file = scratch.write("config", "Nonsense\x1b[2J yes\n");
    let error = ask(&["-F", &file.to_string_lossy(), "h"], &[]).await.expect_err("unknown");
    assert!(error.reason().contains("ssh -G failed: ") && !error.reason().contains('\x1b'), "{error}");
    assert!(ask(&["-F", "/nonexistent", "h"], &[]).await.is_err());
}

#[tokio::test]
async fn an_ssh_that_prints_nothing_is_unknown() {
    let (trust, _) = Trust::open(&["/bin/true".into()], &[]);
    let silent = trust.programs().next().expect("program");
    let command = SshCommand::parse(&["ssh".into(), "h".into()], crate::origin::trust::OLDEST_SSH).expect("login");
    assert!(query(&silent, &command, &Environment::default(), None).await.is_err());
}

async fn ask(arguments: &[&str], environment: &[(&str, &str)]) -> Result<EffectiveConfig, Unknown> {
    let (trust, problems) = Trust::open(&["/usr/bin/ssh".into()], &[]);
    assert_eq!(problems, []);
    let ssh: Arc<TrustedFile> = trust.programs().next().expect("ssh");
    let argv: Vec<OsString> = ["ssh"].iter().chain(arguments).map(Into::into).collect();
    let command = SshCommand::parse(&argv, ssh.version().await.expect("version")).expect("login");
    query(&ssh, &command, &Environment::of(environment), None).await
}
