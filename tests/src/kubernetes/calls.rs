//! Single requests with somebody's credentials: what exactly the API server answers, 403 above all.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ADDRESS, ApiServer, PKI, PORT};

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The bearer of a token.
    Token(String),
    /// A kubelet, with the certificate of the Node of that name.
    Kubelet(String),
    /// The administrator.
    Administrator,
}

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Body; a `Status` object when something is refused.
    pub body: String,
}

impl ApiServer {
    /// A kubelet of a node, with a client certificate as a cluster gives it.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn kubelet(&self, node: &str) -> Result<Caller> {
        self.place().shell(&format!(
            "cd {PKI}
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout kubelet-{node}.key \
              -out kubelet.csr -subj /O=system:nodes/CN=system:node:{node} 2>/dev/null
            openssl x509 -req -in kubelet.csr -CA ca.crt -CAkey ca.key -days 1 -out kubelet-{node}.crt 2>/dev/null"
        ))?;
        Ok(Caller::Kubelet(node.to_owned()))
    }

    /// Sends one request: a verb, a path, a body (JSON; a PATCH is a merge).
    ///
    /// # Errors
    /// When there is no answer at all.
    pub fn call(&self, who: &Caller, verb: &str, path: &str, body: &Value) -> Result<Answer> {
        let kind = match verb {
            "PATCH" => "Content-Type: application/merge-patch+json",
            _ => "Content-Type: application/json",
        };
        let credentials = match who {
            Caller::Token(token) => {
                vec![
                    "--header".to_owned(),
                    format!("Authorization: Bearer {token}"),
                ]
            }
            Caller::Kubelet(node) => certificate(&format!("kubelet-{node}")),
            Caller::Administrator => certificate("admin"),
        };
        let (authority, url) = (
            format!("{PKI}/ca.crt"),
            format!("https://{ADDRESS}:{PORT}{path}"),
        );
        let mut arguments = vec!["-sS", "--max-time", "30", "--cacert", &authority];
        arguments.extend([
            "--request",
            verb,
            "--header",
            kind,
            "--write-out",
            "\n%{http_code}",
        ]);
        arguments.extend(credentials.iter().map(String::as_str));
        // A body may be larger than an argument may be.
        if !body.is_null() {
            arguments.extend(["--data-binary", "@-"]);
        }
        arguments.push(&url);
        let said = self
            .place()
            .output("curl", &arguments, &[], &body.to_string())?;
        let printed = String::from_utf8_lossy(&said.stdout).into_owned();
        // A server may answer before it has read the body, and close; curl then fails with an answer.
        let (body, code) = printed
            .rsplit_once('\n')
            .context("curl printed no status")?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(code != "000", "{verb} {path}: no answer: {error}");
        Ok(Answer {
            code: code.parse().context("read the HTTP status")?,
            body: body.to_owned(),
        })
    }

    /// Tries something that has to be forbidden.
    ///
    /// # Errors
    /// When the answer is anything but 403.
    pub fn forbids(&self, who: &Caller, verb: &str, path: &str, body: &Value) -> Result<()> {
        let answer = self.call(who, verb, path, body)?;
        ensure!(answer.code == 403, "{verb} {path}: {answer:?}");
        Ok(())
    }

    /// Does something that has to be allowed.
    ///
    /// # Errors
    /// When the answer is no success.
    pub fn allows(&self, who: &Caller, verb: &str, path: &str, body: &Value) -> Result<String> {
        let answer = self.call(who, verb, path, body)?;
        ensure!(answer.code / 100 == 2, "{verb} {path}: {answer:?}");
        Ok(answer.body)
    }
}

fn certificate(name: &str) -> Vec<String> {
    let (certificate, key) = (format!("{PKI}/{name}.crt"), format!("{PKI}/{name}.key"));
    ["--cert", &certificate, "--key", &key]
        .map(str::to_owned)
        .to_vec()
}
