//! nginx and curl in pods.

use std::time::Duration;

use anyhow::Result;

use crate::capture::Canary;
use crate::lab::{Pod, Process};
use crate::wait;

/// Where the page and the large file lie on the server's node.
const ROOT: &str = "/var/www/sotto-demo";

/// Size of the large file: some seconds of download at the rate below.
pub(super) const LARGE: usize = 48 << 20;

/// Bytes a second that nginx sends of the large file, so that there is time to kill a daemon.
const RATE: &str = "8m";

const CONFIG: &str = "/etc/sotto-demo/nginx.conf";

/// Starts nginx in a pod: `/` is a page that repeats the canary, `/large` is full of it.
pub(super) fn serve(pod: &Pod, canary: &Canary) -> Result<Process> {
    let word = String::from_utf8_lossy(canary.bytes()).into_owned();
    let page = format!(
        "<!doctype html>\n<title>Payroll</title>\n<h1>Only for the client</h1>\n<pre>\n{}</pre>\n",
        format!("{word}\n").repeat(64)
    );
    pod.write(&format!("{ROOT}/index.html"), page)?;
    pod.write(&format!("{ROOT}/large"), canary.repeated(LARGE))?;
    pod.shell(&format!("chmod -R a+rX {ROOT}"))?;
    pod.write(
        CONFIG,
        format!(
            "user root; daemon off; master_process off; pid /run/nginx.pid; error_log stderr;
            events {{ }}
            http {{
              access_log off;
              server {{ listen 80; listen [::]:80; root {ROOT};
                location /large {{ limit_rate {RATE}; }} }}
            }}"
        ),
    )?;
    let nginx = pod.spawn("nginx", "nginx", &["-c", CONFIG, "-e", "stderr"])?;
    wait::until("nginx to listen", Duration::from_secs(10), || {
        pod.shell("curl -sf --max-time 2 http://127.0.0.1/").is_ok()
    })?;
    Ok(nginx)
}

/// The line that a person would type.
pub(super) fn url(pod_address: std::net::IpAddr, path: &str) -> String {
    match pod_address {
        std::net::IpAddr::V4(address) => format!("http://{address}{path}"),
        std::net::IpAddr::V6(address) => format!("http://[{address}]{path}"),
    }
}

/// Fetches a page as a person would; returns it.
pub(super) fn fetch(client: &Pod, url: &str) -> Result<String> {
    client.run("curl", &["-sSf", "--max-time", "20", url])
}
