//! Real gRPC clients that follow xDS by themselves.

use std::net::{Ipv4Addr, SocketAddr};

use crate::claim::free_port;
use crate::eventually::TIMEOUT;
use crate::http_client::HttpClient;
use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::tools;

/// One of the implementations that `make tools-grpc` brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcLanguage {
    /// grpcio, on gRPC's C core.
    Python,
    /// @grpc/grpc-js-xds, all JavaScript.
    Node,
}

impl GrpcLanguage {
    /// All.
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    fn program(self) -> Program {
        let (interpreter, name, script, variable) = match self {
            Self::Python => ("python3", "grpc-python", "client.py", "PYTHONPATH"),
            Self::Node => ("node", "grpc-js", "client.js", "GRPC_JS_DIR"),
        };
        let installed = match self {
            Self::Python => tools::binary("GRPC_PYTHON_DIR", name),
            Self::Node => tools::binary("GRPC_JS_DIR", name),
        };
        let script = tools::workspace_root().join("tests/clients").join(name).join(script);
        Program::new(interpreter).arg(script).env(variable, installed)
    }
}

/// A client process that makes calls when it is told to.
#[derive(Debug)]
pub struct GrpcClient {
    process: Process,
    control: HttpClient,
    _scratch: Scratch,
}

impl GrpcClient {
    /// Starts a client with an xDS bootstrap (JSON).
    pub async fn start(language: GrpcLanguage, bootstrap: &str) -> Self {
        let scratch = Scratch::new("grpc");
        let file = scratch.write("bootstrap.json", bootstrap);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let program = language
            .program()
            .arg(address.port().to_string())
            .env("GRPC_XDS_BOOTSTRAP", file)
            // The C core takes a server's word that a name is unknown only with
            // this (gRFC A88), and else waits 15 seconds.
            .env("GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING", "true")
            // A proxy of the machine is not for calls between hosts of a test.
            .env("no_grpc_proxy", "*");
        let client = Self {
            process: Process::spawn("grpc-client", program, scratch.path()),
            control: HttpClient::new(&format!("http://{address}")),
            _scratch: scratch,
        };
        client.process.wait_until("listens", TIMEOUT, async || client.ask("", 0).await).await;
        client
    }

    /// Who answers, over so many calls of `target`; what fails stands as
    /// `STATUS: details`.
    pub async fn answers(&self, target: &str, calls: usize) -> Vec<String> {
        let answer = self.ask(target, calls).await;
        answer.unwrap_or_else(|error| panic!("{error}\n{}", self.process.log_tail()))
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    async fn ask(&self, target: &str, calls: usize) -> Result<Vec<String>, String> {
        let path = format!("/?calls={calls}&target={target}");
        let answer = self.control.fetch(&path, &[]).await?;
        serde_json::from_str(&answer.body).map_err(|error| format!("{error} in {}", answer.body))
    }
}
