//! Certificates and kubeconfigs of the programs of a node and of the control plane, by `openssl`.

use anyhow::Result;
use base64ct::{Base64, Encoding};

use super::super::certificates::{at_its_address, kubeconfig_of};
use super::super::{ApiServer, PKI};
use crate::lab::Place;

/// Where a program's credentials are on its host.
const FOLDER: &str = "/etc/kubernetes";

/// Somebody with a client certificate.
pub(super) struct Identity<'a> {
    /// Name of its files.
    pub(super) file: &'a str,
    /// Common name: the user.
    pub(super) user: &'a str,
    /// Organisation: the group.
    pub(super) group: Option<&'a str>,
    /// Subject alternative names, for who serves too.
    pub(super) names: Option<&'a str>,
}

impl ApiServer {
    /// Issues a certificate and puts it, the authority and a kubeconfig that uses it onto a host.
    /// Returns the kubeconfig's path there.
    pub(super) fn issue(&self, place: &Place, identity: &Identity<'_>) -> Result<String> {
        let Identity {
            file, user, group, ..
        } = identity;
        let group = group.map_or_else(String::new, |group| format!("/O={group}"));
        let extension = identity
            .names
            .map_or_else(String::new, |names| format!("subjectAltName={names}\n"));
        self.place().shell(&format!(
            "cd {PKI}
            printf 'extendedKeyUsage=clientAuth,serverAuth\n{extension}' >{file}.ext
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {file}.key -out {file}.csr \
              -subj '{group}/CN={user}' 2>/dev/null
            openssl x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -days 30 -extfile {file}.ext \
              -out {file}.crt 2>/dev/null"
        ))?;
        for name in ["ca.crt", &format!("{file}.crt"), &format!("{file}.key")] {
            let content = self.place().read(&format!("{PKI}/{name}"))?;
            place.write(&format!("{FOLDER}/{name}"), content)?;
        }
        let path = format!("{FOLDER}/{file}.conf");
        let user =
            format!("client-certificate: {FOLDER}/{file}.crt, client-key: {FOLDER}/{file}.key");
        let cluster = at_its_address(&format!("{FOLDER}/ca.crt"));
        place.write(&path, kubeconfig_of("lab", &cluster, &user))?;
        Ok(path)
    }

    /// The administrator's kubeconfig for programs that reach the API server by a port on loopback.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn kubeconfig_for(&self, port: u16) -> Result<String> {
        let [authority, certificate, key] = ["ca.crt", "admin.crt", "admin.key"].map(|file| {
            let content = self.place().read(&format!("{PKI}/{file}"))?;
            Ok::<_, anyhow::Error>(Base64::encode_string(&content))
        });
        let (authority, certificate, key) = (authority?, certificate?, key?);
        Ok(kubeconfig_of(
            "sotto-lab",
            &format!("server: 'https://127.0.0.1:{port}', certificate-authority-data: {authority}"),
            &format!("client-certificate-data: {certificate}, client-key-data: {key}"),
        ))
    }
}
