//! Lines of logs and tools that no rule has as its own, and what to do about them.
//!
//! A line here names the rules that can cause it, or none: then the cause leaves no packet, or is not the distribution.
//! Lines are quoted from the sources of OTP, Elixir, RabbitMQ, ejabberd and libcluster, or were seen in their logs.

use super::LogLine;

/// A line, what it means, and what to do. All texts have `a@h` and `b@h` in place of the names of the line.
#[derive(Debug)]
pub struct LogNote {
    /// The line as it is known.
    pub line: LogLine,
    /// The rules that can cause it.
    pub rules: &'static [&'static [&'static str]],
    /// What it means, in one paragraph.
    pub meaning: &'static str,
    /// Steps that solve the problem, or that find its cause.
    pub remedy: &'static [&'static str],
}

/// Rules for nodes that cannot be reached at all.
const NODE_UNREACHABLE: &[&str] =
    &["epmd-unreachable", "node-not-registered", "stale-registration", "dist-port-blocked"];

/// Rules for nodes that reach each other and do not connect.
const HANDSHAKE_FAILED: &[&str] = &[
    "tls-mismatch",
    "tls-failure",
    "version-mismatch",
    "not-allowed",
    "same-name",
    "name-mismatch",
    "cookie-mismatch",
    "handshake-timeout",
    "handshake-aborted",
];

/// Rules for connections that ended.
const LOST: &[&str] =
    &["tick-timeout", "connection-lost", "partition-cascade", "corrupt-distribution"];

const ANY_FAILURE: &[&[&str]] = &[NODE_UNREACHABLE, HANDSHAKE_FAILED];

/// The steps for a line that only shows that there is no connection.
const CAPTURE_IT: &[&str] = &[
    "Look into the log of b@h, at the same second: a node that refuses mostly logs why, the other one does not.",
    "Capture an attempt on either host, with sudo tcpdump -i any -s 0 -w trace.pcap tcp, and run beamscope trace.pcap: \
     it names the cause.",
];

/// The steps for a connection that ended.
const CAPTURE_THE_END: &[&str] = &[
    "Compare the logs of both nodes at that second: a node that was stopped, killed or suspended is a cause of its own; \
     net_tick_timeout means that nothing arrived for the time of net_ticktime.",
    "If it returns, let a capture run until it does: sudo tcpdump -i any -s 0 -G 3600 -w trace-%H.pcap tcp, and run \
     beamscope on the file of that hour.",
];

const SAME_KIND_OF_NAMES: &[&str] = &[
    "Dial exactly the name that node() prints on the other node.",
    "Start all nodes the same way: all with -name (--name in Elixir, RELEASE_DISTRIBUTION=name, \
     RABBITMQ_USE_LONGNAME=true) and hosts with dots, or all with -sname and hosts without dots.",
];

const CERTIFICATES: &[&str] = &[
    "Print the certificate that the refused node uses: openssl x509 -in CERT.pem -noout -subject -issuer -dates -ext \
     subjectAltName.",
    "See what the dialed node sends: openssl s_client -connect HOST:PORT -servername HOST -CAfile CA.pem -showcerts.",
];

const SHORT_NAME: &str = "The node has a short name (-sname), and the host of the name that it was to dial has dots, \
                          or the other way round. Erlang refuses that before it sends any packet.";

const fn line(writer: &'static str, releases: &'static str, text: &'static str) -> LogLine {
    LogLine { writer, releases, text }
}

/// A line that shows no more than that there is no connection.
const fn not_connected(
    writer: &'static str,
    releases: &'static str,
    text: &'static str,
) -> LogNote {
    LogNote {
        line: line(writer, releases, text),
        rules: ANY_FAILURE,
        meaning: "The node was not reached, or it refused. The line does not show why.",
        remedy: CAPTURE_IT,
    }
}

/// A line that shows no more than that a connection ended.
const fn lost(writer: &'static str, releases: &'static str, text: &'static str) -> LogNote {
    LogNote {
        line: line(writer, releases, text),
        rules: &[LOST],
        meaning: "The connection to the node ended. The line does not show whether the node stopped or the network failed.",
        remedy: CAPTURE_THE_END,
    }
}

/// An alert of TLS with its reason.
const fn refused_certificate(text: &'static str, meaning: &'static str) -> LogNote {
    LogNote {
        line: line("a node with TLS, as a notice", "OTP 22 and newer", text),
        rules: &[&["tls-failure"]],
        meaning,
        remedy: CERTIFICATES,
    }
}

/// An alert of TLS of any kind.
const fn alert(text: &'static str, meaning: &'static str) -> LogNote {
    refused_certificate(text, meaning)
}

const THE_LINE: &str = "This node refused the other one in the TLS handshake. The words after Fatal, and the line after \
                        them, have the reason.";
const THE_OTHER_LOG: &str = "The other node refused this one in the TLS handshake. Its log has the reason in detail, at \
                             the same second.";

/// All lines that have a note.
pub(super) const NOTES: &[LogNote] = &[
    // Elixir
    not_connected(
        "iex --remsh, and the remote command of an Elixir release",
        "all",
        "Could not contact remote node b@h, reason: :nodedown. Aborting...",
    ),
    LogNote {
        line: line(
            "iex --remsh",
            "all",
            "In order to use --remsh, you need to name the current node using --name or --sname. Aborting...",
        ),
        rules: &[],
        meaning: "iex was started without a name, so it cannot connect to any node.",
        remedy: &[
            "Start it with a name of the same kind as the other node's: iex --name probe@HOST --cookie COOKIE \
                   --remsh NODE, or --sname if that node has a short name.",
        ],
    },
    LogNote {
        line: line(
            "libcluster on the dialing node",
            "all",
            "[libcluster:...] unable to connect to :\"b@h\": not part of network",
        ),
        rules: &[],
        meaning: "The node that logs this has no name, so it takes no part in any distribution: Node.connect/1 returned \
                  :ignored.",
        remedy: &[
            "Start the node with --name or --sname, or the release with RELEASE_DISTRIBUTION=name and RELEASE_NODE.",
        ],
    },
    not_connected(
        "libcluster on the dialing node",
        "all",
        "[libcluster:...] unable to connect to :\"b@h\"",
    ),
    lost("libcluster", "all", "[libcluster:...] disconnected from :\"b@h\""),
    lost("Elixir, in the exit of a call", "all", "** (EXIT) no connection to b@h"),
    lost(
        "Elixir, in the exit of a call",
        "all",
        "** (exit) exited in: GenServer.call({Name, :\"b@h\"}, ...) ** (EXIT) no connection to b@h",
    ),
    not_connected(
        "Elixir, from :erpc.call",
        "all",
        "** (ErlangError) Erlang error: {:erpc, :noconnection}",
    ),
    // Erlang
    not_connected("rpc:call", "all", "{badrpc,nodedown}"),
    not_connected("erpc:call", "OTP 23 and newer", "{erpc,noconnection}"),
    not_connected("gen_server:call", "all", "{{nodedown,b@h},{gen_server,call,[...]}}"),
    not_connected(
        "GenServer.call in Elixir",
        "all",
        "** (exit) {{:nodedown, :\"b@h\"}, {GenServer, :call, [...]}}",
    ),
    not_connected(
        "the dialing node, in a mesh",
        "seen with OTP 25",
        "'global' at a@h failed to connect to b@h",
    ),
    not_connected(
        "the dialing node, in a mesh",
        "older releases",
        "global: a@h failed to connect to b@h",
    ),
    not_connected(
        "the ping command of a release (nodetool)",
        "all",
        "Node 'b@h' not responding to pings.",
    ),
    LogNote {
        line: line(
            "a node with global, on either side",
            "OTP 25 and newer",
            "'global' at node a@h disconnected node b@h in order to prevent overlapping partitions",
        ),
        rules: &[&["partition-cascade"]],
        meaning: "Another pair of nodes lost its connection, and global then closes connections that were well, so that \
                  no two nodes see different clusters. The first loss is the cause.",
        remedy: &[
            "Find the first loss: the earliest \"not responding\" or \"down\" line in the logs of all nodes.",
            "Do not switch the protection off (prevent_overlapping_partitions) before that loss is understood.",
        ],
    },
    LogNote {
        line: line("a node with global", "all", "global: Name conflict terminating {Name, Pid}"),
        rules: &[LOST],
        meaning: "Two parts of the cluster were separated, each registered the name, and they connected again: one of \
                  the two processes was stopped. The loss before is the cause.",
        remedy: CAPTURE_THE_END,
    },
    LogNote {
        line: line(
            "the dialing node, if its name is short",
            "all",
            "** System NOT running to use fully qualified hostnames **",
        ),
        rules: &[],
        meaning: SHORT_NAME,
        remedy: SAME_KIND_OF_NAMES,
    },
    LogNote {
        line: line(
            "the dialing node, if its name is long",
            "all",
            "** System running to use fully qualified hostnames **",
        ),
        rules: &[],
        meaning: "The node has a long name (-name), and the host of the name that it was to dial has no dot. Erlang \
                  refuses that before it sends any packet.",
        remedy: SAME_KIND_OF_NAMES,
    },
    LogNote {
        line: line("the dialing node", "all", "** Hostname h is illegal **"),
        rules: &[],
        meaning: SHORT_NAME,
        remedy: SAME_KIND_OF_NAMES,
    },
    LogNote {
        line: line("the dialing node", "all", "** Nodename b illegal, no '@' character **"),
        rules: &[],
        meaning: "The name that was to be dialed has no host. No packet was sent.",
        remedy: &["Dial the whole name, as node() prints it on the other node: name@host."],
    },
    LogNote {
        line: line(
            "a node that does not start",
            "all",
            "Can't set long node name! Please check your configuration",
        ),
        rules: &[],
        meaning: "The node was started with -name, and neither the name nor the system has a host with a dot.",
        remedy: &[
            "Give the whole name, -name app@host.example or -name app@10.0.0.1, or let hostname -f return a name \
                   with a domain.",
        ],
    },
    LogNote {
        line: line(
            "a node that does not start",
            "all",
            "Can't set short node name! Please check your configuration",
        ),
        rules: &[],
        meaning: "The node was started with -sname, and the host name of the system cannot be used.",
        remedy: &["Check what hostname prints, and that it is in /etc/hosts."],
    },
    LogNote {
        line: line("a node that does not start", "all", "Invalid node name!"),
        rules: &[],
        meaning: "The name given with -name or -sname has a character that a name may not have, or more than one @.",
        remedy: &[
            "Use letters, digits, - and _ before the @, and a host name or an address after it.",
        ],
    },
    LogNote {
        line: line(
            "a node that does not start",
            "all",
            "{shutdown,{failed_to_start_child,net_kernel,{'EXIT',nodistribution}}}",
        ),
        rules: &[&["name-in-use", "epmd-unreachable", "registration-rejected", "epmd-silent"]],
        meaning: "The distribution could not be started. The line before it, which begins with Protocol, has the reason.",
        remedy: &[
            "Read the line before: a name in use, no EPMD, or a port of inet_dist_listen_min to \
                   inet_dist_listen_max that is taken.",
            "See which names are taken: epmd -names.",
        ],
    },
    LogNote {
        line: line(
            "a node that does not start",
            "all",
            "Protocol 'inet_tcp': register/listen error: eaddrinuse",
        ),
        rules: &[],
        meaning: "Every port of inet_dist_listen_min to inet_dist_listen_max, or of -erl_epmd_port, is taken on this host.",
        remedy: &[
            "See who listens there: ss -ltnp. Make the range wider, or give each node of the host a range of its own.",
        ],
    },
    LogNote {
        line: line(
            "the dialed node",
            "all",
            "** Connection attempt from disallowed IP 10.0.0.1 **",
        ),
        rules: &[],
        meaning: "The kernel parameter check_ip is true, so the node closes every connection from another subnet.",
        remedy: &[
            "Set check_ip to false (the default) on the node that logs this, or connect from its subnet.",
        ],
    },
    LogNote {
        line: line(
            "the dialing node, with net_kernel:verbose(1)",
            "OTP 25 and older",
            "{net_kernel,{'EXIT',<0.87.0>,{check_dflags_failed,[...]}}}",
        ),
        rules: &[&["version-mismatch"]],
        meaning: "The dialing node demands capabilities that the dialed node lacks: the releases are too far apart.",
        remedy: &[
            "Compare the releases: erlang:system_info(otp_release) on both nodes. Upgrade the older one: nodes talk \
                   over at least two releases in each direction.",
        ],
    },
    LogNote {
        line: line(
            "a node at its start",
            "all",
            "Cookie file ~/.erlang.cookie must be accessible by owner only",
        ),
        rules: &[],
        meaning: "Others may read the file with the cookie, so Erlang does not use it, and the node does not start.",
        remedy: &[
            "chmod 400 ~/.erlang.cookie, as the user that runs the node; chown it if another user owns it.",
        ],
    },
    LogNote {
        line: line("a node at its start", "all", "Error when reading ~/.erlang.cookie: eacces"),
        rules: &[],
        meaning: "The node cannot read its cookie file, so it does not start.",
        remedy: &[
            "Check owner and mode: ls -l ~/.erlang.cookie, as the user that runs the node; and the value of HOME.",
        ],
    },
    LogNote {
        line: line("a node at its start", "all", "Bad characters in cookie"),
        rules: &[&["cookie-mismatch"]],
        meaning: "The cookie file has something beside one line of printable ASCII, such as a second line.",
        remedy: &[
            "Look at its bytes: od -c ~/.erlang.cookie. Write it again: printf %s COOKIE > ~/.erlang.cookie.",
        ],
    },
    // RabbitMQ
    not_connected(
        "rabbitmqctl",
        "all",
        "Error: unable to perform an operation on node 'b@h'. Please see diagnostics information and suggestions below.",
    ),
    not_connected(
        "rabbitmqctl",
        "older releases",
        "Error: unable to connect to node b@h: nodedown",
    ),
    LogNote {
        line: line(
            "rabbitmqctl",
            "all",
            "* TCP connection succeeded but Erlang distribution failed",
        ),
        rules: &[HANDSHAKE_FAILED],
        meaning: "EPMD and the port of the node were reached, and the handshake failed. The lines after it may have the \
                  reason.",
        remedy: CAPTURE_IT,
    },
    not_connected(
        "rabbitmq-diagnostics ping",
        "all",
        "Failed to connect and authenticate to b@h in 60000 ms",
    ),
    LogNote {
        line: line(
            "rabbitmqctl",
            "all",
            "Error: operation status failed due to invalid node name (node: b@h.example, reason: short).",
        ),
        rules: &[],
        meaning: "The host of the name has dots, and the tool was started for short names. No packet was sent.",
        remedy: &[
            "Add --longnames, or use the short name of the node; the node itself prints its name in its log at start.",
        ],
    },
    LogNote {
        line: line("rabbitmqctl", "all", "* suggestion: hostname mismatch?"),
        rules: &[&["name-mismatch"]],
        meaning: "EPMD knows a node of that name, and the tool dialed its host by another name than the node uses.",
        remedy: SAME_KIND_OF_NAMES,
    },
    LogNote {
        line: line("rabbitmqctl", "all", "* suggestion: is the cookie set correctly?"),
        rules: &[&["cookie-mismatch"]],
        meaning: "The tool reached the node and was refused, most likely because of its cookie.",
        remedy: &[
            "Compare the cookies: the hash in the lines below, and that of rabbitmq-diagnostics erlang_cookie_hash \
                   on the other host. The tool reads the file of the user that runs it.",
            "Run the tool as the user of the server: sudo -u rabbitmq rabbitmqctl status.",
        ],
    },
    LogNote {
        line: line("rabbitmqctl", "all", "* suggestion: is the Erlang distribution using TLS?"),
        rules: &[&["tls-mismatch"]],
        meaning: "The tool spoke without TLS to a port that expects TLS, or the other way round.",
        remedy: &[
            "Give the tools the same options as the server: RABBITMQ_CTL_ERL_ARGS with -proto_dist inet_tls and \
                   -ssl_dist_optfile.",
        ],
    },
    LogNote {
        line: line("rabbitmqctl", "all", "* suggestion: blocked by firewall?"),
        rules: &[&["epmd-unreachable", "dist-port-blocked"]],
        meaning: "EPMD or the port of the node did not answer.",
        remedy: &[
            "Open port 4369 and the port of the node (25672 by default) between the hosts, in both directions.",
        ],
    },
    LogNote {
        line: line("RabbitMQ", "all", "node b@h down: net_tick_timeout"),
        rules: &[&["tick-timeout", "connection-lost"]],
        meaning: "Nothing arrived from the node for the time of net_ticktime (60 s by default), so the connection was closed.",
        remedy: CAPTURE_THE_END,
    },
    LogNote {
        line: line("RabbitMQ", "all", "node b@h down: connection_closed"),
        rules: &[LOST],
        meaning: "The other side closed the connection: the node stopped, or it gave up, or something between them closed it.",
        remedy: CAPTURE_THE_END,
    },
    lost("RabbitMQ", "all", "node b@h down: noconnection"),
    lost("RabbitMQ", "all", "rabbit on node b@h down"),
    lost("RabbitMQ", "all", "Node b@h is down, deleting its listeners"),
    LogNote {
        line: line(
            "RabbitMQ",
            "all",
            "Mnesia('a@h'): ** ERROR ** mnesia_event got {inconsistent_database, running_partitioned_network, 'b@h'}",
        ),
        rules: &[LOST],
        meaning: "The two nodes lost their connection, both went on, and they are connected again. Mnesia does not merge \
                  what each of them wrote: the cluster is partitioned until one side restarts.",
        remedy: &[
            "See the partitions: rabbitmqctl cluster_status. Restart RabbitMQ on the side that may lose its changes.",
            "Choose how the cluster handles it: cluster_partition_handling = pause_minority.",
            "Find the loss before it: the line with net_tick_timeout or connection_closed.",
        ],
    },
    LogNote {
        line: line(
            "Mnesia",
            "all",
            "** ERROR ** mnesia_event got {inconsistent_database, starting_partitioned_network, 'b@h'}",
        ),
        rules: &[LOST],
        meaning: "The node starts, and finds that the other one went on without it while it ran: the two databases may \
                  differ.",
        remedy: &[
            "Decide which side keeps its data, and restart the others; in RabbitMQ with rabbitmqctl \
                   force_reset and join_cluster if they do not start.",
        ],
    },
    LogNote {
        line: line(
            "RabbitMQ",
            "all",
            "Partial partition detected: * We saw DOWN from b@h * We can still see c@h which can see b@h",
        ),
        rules: &[LOST],
        meaning: "Two nodes lost each other, and a third one is connected with both.",
        remedy: CAPTURE_THE_END,
    },
    LogNote {
        line: line(
            "RabbitMQ",
            "all",
            "Cluster minority/secondary status detected - awaiting recovery",
        ),
        rules: &[LOST],
        meaning: "With pause_minority or pause_if_all_down, the node sees too few others and has paused itself.",
        remedy: CAPTURE_THE_END,
    },
    LogNote {
        line: line("RabbitMQ", "all", "epmd does not know us, re-registering rabbit at port 25672"),
        rules: &[&["registration-lost"]],
        meaning: "EPMD was restarted or killed, and RabbitMQ has registered again. New connections failed in between.",
        remedy: &[
            "Find what restarts EPMD: a service unit that stops it with another node, or epmd -kill.",
        ],
    },
    LogNote {
        line: line(
            "RabbitMQ",
            "all",
            "Error while waiting for Mnesia tables: {timeout_waiting_for_tables,[...]}",
        ),
        rules: ANY_FAILURE,
        meaning: "The node waits for the nodes that ran when it was stopped last, and none of them is connected.",
        remedy: &[
            "Start the node that was stopped last, or all of them together.",
            "If they run, they do not connect: capture it with sudo tcpdump -i any -s 0 -w trace.pcap tcp, and run \
                   beamscope trace.pcap.",
        ],
    },
    not_connected("RabbitMQ", "all", "Could not auto-cluster with node b@h: {badrpc,nodedown}"),
    LogNote {
        line: line("rabbitmqctl", "all", "Error: incompatible_feature_flags"),
        rules: &[],
        meaning: "The nodes are connected, and RabbitMQ refuses the join since one of them has feature flags that the \
                  other does not know.",
        remedy: &[
            "Compare rabbitmqctl list_feature_flags on both nodes. Use the same version of RabbitMQ, or enable the flags \
                   after all nodes are upgraded.",
        ],
    },
    LogNote {
        line: line(
            "rabbitmqctl",
            "all",
            "{inconsistent_cluster,\"Node a@h thinks it's clustered with node b@h, but b@h disagrees\"}",
        ),
        rules: &[],
        meaning: "The nodes are connected. One of them was removed from the cluster, or reset, without the other.",
        remedy: &[
            "Reset the node that was removed, and let it join again: rabbitmqctl stop_app, reset, join_cluster, start_app.",
        ],
    },
    // ejabberd
    not_connected(
        "ejabberdctl, mongooseimctl",
        "all",
        "Failed RPC connection to the node b@h: nodedown",
    ),
    not_connected("ejabberdctl join_cluster", "all", "Error: {no_ping,b@h}"),
    lost("ejabberd", "all", "Node b@h has left our Mnesia SM tables"),
    lost(
        "ejabberd",
        "seen with 24.12",
        "Supervisor received unexpected message: {mnesia_system_event,{mnesia_down,b@h}}",
    ),
    // TLS: first alerts of any kind, then those with an answer of their own. The name of the state is not compared.
    alert(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - ...",
        THE_LINE,
    ),
    alert(
        "TLS server: In state certify at ssl_handshake.erl:2183 generated SERVER ALERT: Fatal - ...",
        THE_LINE,
    ),
    alert("TLS client: In state cipher received SERVER ALERT: Fatal - ...", THE_OTHER_LOG),
    alert("TLS server: In state certify received CLIENT ALERT: Fatal - ...", THE_OTHER_LOG),
    refused_certificate(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - Handshake Failure - \
         {bad_cert,{hostname_check_failed,{requested,\"h\"},{received,[{dNSName,\"other\"}]}}}",
        "The certificate of the dialed node is not for the host that was dialed, which is the part after the @ of the \
         node name.",
    ),
    refused_certificate(
        "TLS client: In state wait_cert_cr at ssl_handshake.erl:2017 generated CLIENT ALERT: Fatal - Handshake Failure - \
         {bad_cert,hostname_check_failed}",
        "The certificate of the dialed node is not for the host that was dialed, which is the part after the @ of the \
         node name.",
    ),
    refused_certificate(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - Bad Certificate - \
         {bad_cert,{hostname_check_failed,{requested,\"h\"},{received,[{dNSName,\"other\"}]}}}",
        "The certificate of the dialed node is not for the host that was dialed, which is the part after the @ of the \
         node name.",
    ),
    refused_certificate(
        "TLS server: In state certify received CLIENT ALERT: Fatal - Bad Certificate",
        "The dialing node refused this node's certificate: mostly it is not for the host that was dialed. The log of the \
         dialing node has the reason.",
    ),
    refused_certificate(
        "TLS server: In state certify received CLIENT ALERT: Fatal - Handshake Failure",
        "The dialing node refused this node's certificate: mostly it is not for the host that was dialed. The log of the \
         dialing node has the reason.",
    ),
    refused_certificate(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - Certificate Expired",
        "The certificate of the dialed node, or one that it rests on, is past its end date; or the clock of the dialing \
         host is wrong.",
    ),
    refused_certificate(
        "TLS server: In state certify at ssl_handshake.erl:2183 generated SERVER ALERT: Fatal - Certificate Expired",
        "The certificate of the dialing node, or one that it rests on, is past its end date; or the clock of the dialed \
         host is wrong.",
    ),
    refused_certificate(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - Bad Certificate - \
         invalid_signature",
        "The signature of the certificate does not fit its issuer: the CA file is of another CA with the same name.",
    ),
    refused_certificate(
        "TLS client: In state certify at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - Bad Certificate - \
         selfsigned_peer",
        "The dialed node has a certificate that it signed itself, and the dialing node's CA file does not contain it.",
    ),
    LogNote {
        line: line(
            "a node with TLS, as a notice",
            "OTP 22 and newer",
            "TLS server: In state hello at tls_handshake.erl:346 generated SERVER ALERT: Fatal - Protocol Version",
        ),
        rules: &[&["tls-failure"]],
        meaning: "The two nodes have no TLS version in common.",
        remedy: &[
            "Set the same {versions, ['tlsv1.3','tlsv1.2']} in the -ssl_dist_optfile of both nodes. Up to OTP 25, a \
                   dialing node offers TLS 1.2 alone unless told otherwise.",
        ],
    },
    LogNote {
        line: line(
            "a node with TLS, as a notice",
            "OTP 22 and newer",
            "TLS server: In state hello at tls_handshake.erl:346 generated SERVER ALERT: Fatal - Insufficient Security - \
             no_suitable_ciphers",
        ),
        rules: &[&["tls-failure"]],
        meaning: "The two nodes have no cipher suite in common, or the certificate's key does not fit those that they have.",
        remedy: &[
            "Compare the ciphers of the -ssl_dist_optfile of both nodes, and leave them out if nothing demands them.",
        ],
    },
    LogNote {
        line: line(
            "a node with TLS",
            "all",
            "{options,{cacertfile,\"/etc/tls/ca.pem\",{error,enoent}}}",
        ),
        rules: &[&["handshake-aborted", "tls-failure"]],
        meaning: "A file that the TLS options name cannot be read, so the node can neither dial nor accept.",
        remedy: &[
            "Check path, owner and mode of the file, as the user that runs the node; the options are those of \
                   -ssl_dist_optfile.",
        ],
    },
];
