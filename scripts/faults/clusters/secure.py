"""Clusters whose distribution runs over TLS."""

from pathlib import Path

from .cluster import Cluster, kind


class Secure(Cluster):
    """Each member shows a certificate for its host and checks that of the other."""

    secure = True
    versions = ()

    def __init__(self, *arguments):
        # By member: what it has in place of the certificate that fits, or of all options; and who has no TLS.
        self.shows, self.extra, self.plain = {}, {}, set()
        super().__init__(*arguments)

    def wait_ready(self, member):
        # Or the first dial spends its time on loading modules, and gives up.
        member.ask("""[code:ensure_loaded(Module)
                       || Application <- [crypto, asn1, public_key, ssl], _ <- [application:load(Application)],
                          {ok, Modules} <- [application:get_key(Application, modules)], Module <- Modules] =/= []""")

    def carrier(self, member):
        return super().carrier(member).replace("tcp", "tcp" if member in self.plain else "tls")

    def emulator_options(self, member):
        file = Path(member.home, f"tls{member.starts}.config")
        certificate, issuer = self.shows.get(member, (member.host.name, "ca1"))
        shown = self.testbed.certificates(certificate, issuer)
        trusted = self.testbed.certificates(member.host.name, "ca1")
        own = [f'{{certfile,"{shown}.pem"}}', f'{{keyfile,"{shown}.key"}}', f'{{cacertfile,"{trusted}.ca"}}',
               "{verify,verify_peer}"]
        if self.versions:
            own.append(f"{{versions,[{','.join(self.versions)}]}}")
        server = [*own, "{fail_if_no_peer_cert,true}"]
        file.write_text(f"[{{server,[{','.join(server)}]}},{{client,[{','.join(own)}]}}].\n")
        file_option = ["-ssl_dist_optfile", str(file)]
        return [*super().emulator_options(member), *self.extra.get(member, file_option)]


@kind("tls")
class Tls(Secure):
    """Two nodes over TLS 1.2."""

    versions = ("'tlsv1.2'",)


@kind("tls-ipv6")
class TlsIpv6(Secure):
    """Two nodes over TLS 1.2 and IPv6."""

    versions = ("'tlsv1.2'",)
    family = 6


@kind("tls13")
class Tls13(Secure):
    """Two nodes over TLS 1.3 alone."""

    versions = ("'tlsv1.3'",)
