//! What tests of other packages rely on: many sandboxes in one process, held calls, and an end that leaves nothing.

use std::time::Duration;

use muster_sandbox::{
    AMAZON_LINUX_X86_64, AccountId, CallQuery, Fault, FaultAction, GroupSpec, LaunchTemplateSpec, MemberState, Moment,
    Outcome, Sandbox, SandboxConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ACCOUNT: &str = "111111111111";

/// Sends a signed GetCallerIdentity; the answer, or what came of it before the connection ended.
async fn who_am_i(sandbox: &Sandbox) -> String {
    let mut connection = TcpStream::connect(sandbox.address()).await.expect("a connection");
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let request = format!(
        "POST / HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\ncontent-length: {}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIASANDBOX{ACCOUNT}/20260101/eu-west-1/sts/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\r\n{body}",
        body.len(),
    );
    connection.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    answer
}

fn identity_calls() -> CallQuery {
    CallQuery::operation("sts", "GetCallerIdentity")
}

#[tokio::test]
async fn sandboxes_do_not_know_each_other() {
    let one = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    let two = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    one.add_fault(Fault::always("sts", "GetCallerIdentity", FaultAction::DropBefore));
    assert_eq!(who_am_i(&one).await, "");
    assert!(who_am_i(&two).await.contains(&format!("<Account>{ACCOUNT}</Account>")));
    assert_eq!(one.calls(&identity_calls())[0].outcome, Outcome::DroppedBefore);
    assert_eq!(two.calls(&identity_calls())[0].outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_held_call_waits_for_its_release() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    let hold = FaultAction::Hold { moment: Moment::Before };
    let fault = sandbox.add_fault(Fault::once("sts", "GetCallerIdentity", hold));
    let release = async {
        sandbox.wait_for_hits(fault, 1).await;
        assert_eq!(sandbox.calls(&identity_calls())[0].outcome, Outcome::Open);
        sandbox.release_fault(fault);
    };
    let (answer, ()) = tokio::join!(who_am_i(&sandbox), release);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let calls = sandbox.wait_for_calls(&identity_calls(), |calls| calls[0].ended.is_some()).await;
    assert_eq!(calls[0].outcome, Outcome::Ok);
}

#[tokio::test]
async fn stopping_ends_held_calls_and_closes_the_port() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    let (address, control) = (sandbox.address(), sandbox.control());
    let fault =
        control.add_fault(Fault::always("sts", "GetCallerIdentity", FaultAction::Hold { moment: Moment::After }));
    let mut held = Box::pin(who_am_i(&sandbox));
    tokio::select! {
        _ = &mut held => panic!("the call must be held"),
        () = control.wait_for_hits(fault, 1) => {}
    }
    drop(held);
    tokio::time::timeout(Duration::from_secs(10), sandbox.stop()).await.expect("an end");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(control.calls(&identity_calls())[0].outcome, Outcome::Ok, "the call was carried through");
}

#[tokio::test]
async fn a_dropped_sandbox_closes_its_port() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    let address = sandbox.address();
    drop(sandbox);
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the port must close");
}

#[tokio::test]
async fn the_journal_forgets_on_request() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    who_am_i(&sandbox).await;
    who_am_i(&sandbox).await;
    assert_eq!(sandbox.call_counts(&CallQuery::default())["sts:GetCallerIdentity"], 2);
    sandbox.clear_calls();
    assert!(sandbox.calls(&CallQuery::default()).is_empty());
    who_am_i(&sandbox).await;
    assert_eq!(sandbox.calls(&CallQuery::default())[0].number, 3);
}

#[tokio::test]
async fn a_group_lives_on_a_real_clock() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
    let account: AccountId = ACCOUNT.parse().expect("an account id");
    let template = LaunchTemplateSpec::new(&account, "eu-west-1", "base", AMAZON_LINUX_X86_64);
    let template = sandbox.add_launch_template(&template).expect("a template");
    let mut events = sandbox.instance_events();
    sandbox.add_group(&GroupSpec::new(&account, "eu-west-1", "web", &template, 2)).expect("a group");
    let serving = || {
        let group = sandbox.group(&account, "eu-west-1", "web").expect("the group");
        let serving = group.members.into_values().filter(|member| member.state == MemberState::InService);
        serving.map(|member| member.instance_id).collect::<Vec<String>>()
    };
    let lives = async {
        while serving().len() < 2 {
            events.recv().await.expect("an event");
        }
        let gone = serving().remove(0);
        sandbox.terminate_instance(&gone).expect("an end");
        while serving().len() < 2 || serving().contains(&gone) {
            events.recv().await.expect("an event");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lives).await.expect("two instances");
}
