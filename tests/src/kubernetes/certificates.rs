//! The cluster's certificate authority, by `openssl`: serving, administrator and token keys.

use anyhow::Result;

use super::{ADDRESS, ADMIN, PKI, PORT};
use crate::lab::Place;

/// Makes everything that kube-apiserver and the administrator's kubectl need.
pub(super) fn make(place: &Place) -> Result<()> {
    place.shell(&format!(
        "mkdir -p {PKI}
        cd {PKI}
        ec='ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 -newkey $ec -keyout ca.key -out ca.crt -days 30 -subj /CN=lab \
          -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign 2>/dev/null
        openssl req -newkey $ec -keyout admin.key -out admin.csr -subj /O=system:masters/CN=admin 2>/dev/null
        echo extendedKeyUsage=clientAuth >admin.ext
        openssl x509 -req -in admin.csr -CA ca.crt -CAkey ca.key -days 30 -extfile admin.ext \
          -out admin.crt 2>/dev/null
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key
        openssl pkey -in sa.key -pubout -out sa.pub"
    ))?;
    serving(place)?;
    place.write(
        ADMIN,
        kubeconfig(&format!(
            "client-certificate: {PKI}/admin.crt, client-key: {PKI}/admin.key"
        )),
    )
}

/// Makes a serving certificate in place of the one there is. kube-apiserver looks at the files
/// once a minute and whenever they change.
pub(super) fn serving(place: &Place) -> Result<()> {
    place.shell(&format!(
        "cd {PKI}
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key.new \
          -out server.csr -subj /CN=kube-apiserver 2>/dev/null
        echo 'subjectAltName=IP:{ADDRESS},IP:2001:db8::fa,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc' >server.ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 30 -extfile server.ext \
          -out server.crt.new 2>/dev/null
        mv server.key.new server.key
        mv server.crt.new server.crt"
    ))?;
    Ok(())
}

/// A kubeconfig for a user, given as the fields of its entry, on the API server's own machine.
pub(super) fn kubeconfig(user: &str) -> String {
    kubeconfig_of("lab", &at_its_address(&format!("{PKI}/ca.crt")), user)
}

/// The fields of a kubeconfig's cluster for who reaches the API server by its address.
pub(super) fn at_its_address(authority: &str) -> String {
    format!("server: 'https://{ADDRESS}:{PORT}', certificate-authority: {authority}")
}

/// A kubeconfig of one context, its cluster and its user given as the fields of their entries.
pub(super) fn kubeconfig_of(name: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: {name}
clusters: [{{name: {name}, cluster: {{{cluster}}}}}]
users: [{{name: {name}, user: {{{user}}}}}]
contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]
"
    )
}
