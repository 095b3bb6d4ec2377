//! Link types, and their names in the registry of tcpdump.org.

use std::fmt;

/// Link type of a frame, a `LINKTYPE_` value of the tcpdump.org registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet, with or without VLAN tags.
    pub const ETHERNET: Self = Self(1);
    /// Token Ring (IEEE 802.5), without source routing or with it.
    pub const IEEE802_5: Self = Self(6);
    /// SLIP, after a header with the direction.
    pub const SLIP: Self = Self(8);
    /// PPP, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// FDDI (ANSI X3T9.5) with LLC.
    pub const FDDI: Self = Self(10);
    /// Raw IP, as libpcap calls it on Linux when live (`DLT_RAW`).
    pub const DLT_RAW: Self = Self(12);
    /// Raw IP, as OpenBSD numbers it.
    pub const DLT_RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC framing, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// A PPPoE session, without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// LLC over ATM, without the ATM headers (RFC 2684, section 5).
    pub const ATM_RFC1483: Self = Self(100);
    /// Raw IP, as it is numbered in files.
    pub const RAW: Self = Self(101);
    /// HDLC as Cisco uses it.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11, without a radio header.
    pub const IEEE802_11: Self = Self(105);
    /// Frame relay (ITU-T Q.922, RFC 2427).
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Datagrams inside IPsec, as the enc interface of the BSDs shows them.
    pub const ENC: Self = Self(109);
    /// Linux cooked, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Packets that the packet filter of the BSDs logged.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 behind a Prism header.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// IP over Fibre Channel (RFC 4338, section 4).
    pub const IP_OVER_FC: Self = Self(122);
    /// ATM as SunATM devices show it.
    pub const SUNATM: Self = Self(123);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Juniper, PPP over several links.
    pub const JUNIPER_MLPPP: Self = Self(130);
    /// Juniper, multilink frame relay (FRF.15).
    pub const JUNIPER_MLFR: Self = Self(131);
    /// Juniper, cards for encryption (IPsec).
    pub const JUNIPER_ES: Self = Self(132);
    /// Juniper, gateway of mobile networks (GGSN).
    pub const JUNIPER_GGSN: Self = Self(133);
    /// Juniper, multilink frame relay (FRF.16).
    pub const JUNIPER_MFR: Self = Self(134);
    /// Juniper, ATM cards of the second kind.
    pub const JUNIPER_ATM2: Self = Self(135);
    /// Juniper, cards for services.
    pub const JUNIPER_SERVICES: Self = Self(136);
    /// Juniper, ATM cards of the first kind.
    pub const JUNIPER_ATM1: Self = Self(137);
    /// IP over IEEE 1394, as Darwin shows it.
    pub const APPLE_IP_OVER_IEEE1394: Self = Self(138);
    /// For private use; Darwin writes PKTAP under it.
    pub const USER2: Self = Self(149);
    /// IEEE 802.11 behind an AVS header.
    pub const IEEE802_11_AVS: Self = Self(163);
    /// Juniper, cards for monitoring traffic.
    pub const JUNIPER_MONITOR: Self = Self(164);
    /// PPP with the direction in place of the HDLC address.
    pub const PPP_PPPD: Self = Self(166);
    /// Juniper metadata, then PPPoE in Ethernet.
    pub const JUNIPER_PPPOE: Self = Self(167);
    /// Juniper metadata, then PPPoE over ATM.
    pub const JUNIPER_PPPOE_ATM: Self = Self(168);
    /// Juniper metadata, then Ethernet.
    pub const JUNIPER_ETHER: Self = Self(178);
    /// Juniper metadata, then PPP.
    pub const JUNIPER_PPP: Self = Self(179);
    /// Juniper metadata, then frame relay.
    pub const JUNIPER_FRELAY: Self = Self(180);
    /// Juniper metadata, then Cisco HDLC.
    pub const JUNIPER_CHDLC: Self = Self(181);
    /// Juniper, cards for telephony (VP).
    pub const JUNIPER_VP: Self = Self(183);
    /// Per-packet information, with another link type inside.
    pub const PPI: Self = Self(192);
    /// Juniper, integrated service module.
    pub const JUNIPER_ISM: Self = Self(194);
    /// Juniper, secure tunnels of SRX.
    pub const JUNIPER_ST: Self = Self(200);
    /// PPP after a byte with the direction.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// Cisco HDLC after a byte with the direction.
    pub const C_HDLC_WITH_DIR: Self = Self(205);
    /// Frame relay after a byte with the direction.
    pub const FRELAY_WITH_DIR: Self = Self(206);
    /// MPLS without a link header.
    pub const MPLS: Self = Self(219);
    /// IP between the zones of a Solaris host (ipnet).
    pub const IPNET: Self = Self(226);
    /// Raw IP, always of version 4.
    pub const IPV4: Self = Self(228);
    /// Raw IP, always of version 6.
    pub const IPV6: Self = Self(229);
    /// Juniper, virtual services of SRX.
    pub const JUNIPER_VS: Self = Self(232);
    /// Juniper, end to end capture of SRX.
    pub const JUNIPER_SRX_E2E: Self = Self(233);
    /// Juniper metadata, then Fibre Channel.
    pub const JUNIPER_FIBRECHANNEL: Self = Self(234);
    /// Juniper, ATM of the CE MIC.
    pub const JUNIPER_ATM_CEMIC: Self = Self(238);
    /// Packets that the Linux packet filter logged (netlink NFLOG).
    pub const NFLOG: Self = Self(239);
    /// Ethernet after a netANALYZER header.
    pub const NETANALYZER: Self = Self(240);
    /// Ethernet after a netANALYZER header and the preamble.
    pub const NETANALYZER_TRANSPARENT: Self = Self(241);
    /// IP over InfiniBand (RFC 4391, section 6).
    pub const IPOIB: Self = Self(242);
    /// Darwin's packet metadata, with another link type inside.
    pub const PKTAP: Self = Self(258);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// Ethernet with the tag of a Broadcom switch after the addresses.
    pub const DSA_TAG_BRCM: Self = Self(281);
    /// Ethernet after the tag of a Broadcom switch.
    pub const DSA_TAG_BRCM_PREPEND: Self = Self(282);
    /// Ethernet with the DSA tag of a Marvell switch after the addresses.
    pub const DSA_TAG_DSA: Self = Self(284);
    /// Ethernet with the DSA tag of a Marvell switch and an EtherType for it.
    pub const DSA_TAG_EDSA: Self = Self(285);

    /// The name in the registry, without its prefix `LINKTYPE_`; `None` if the number has none.
    pub fn name(self) -> Option<&'static str> {
        let found = NAMES.binary_search_by_key(&self.0, |(number, _)| *number);
        found.ok().and_then(|at| NAMES.get(at)).map(|(_, name)| *name)
    }
}

/// The number, and the name if there is one: `195 (IEEE802_15_4_WITHFCS)`.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Names of the registry (<https://www.tcpdump.org/linktypes.html>), by number. Types that it only reserves have
/// the name of the `DLT_` constant of libpcap. 12 and 14 are values of `DLT_RAW` that some systems write to files.
#[rustfmt::skip]
const NAMES: &[(u16, &str)] = &[
    (0, "NULL"), (1, "ETHERNET"), (2, "EXP_ETHERNET"), (3, "AX25"), (4, "PRONET"), (5, "CHAOS"),
    (6, "IEEE802_5"), (7, "ARCNET_BSD"), (8, "SLIP"), (9, "PPP"), (10, "FDDI"), (12, "RAW"), (14, "RAW"),
    (32, "REDBACK_SMARTEDGE"), (50, "PPP_HDLC"), (51, "PPP_ETHER"), (99, "SYMANTEC_FIREWALL"),
    (100, "ATM_RFC1483"), (101, "RAW"), (102, "SLIP_BSDOS"), (103, "PPP_BSDOS"), (104, "C_HDLC"),
    (105, "IEEE802_11"), (106, "ATM_CLIP"), (107, "FRELAY"), (108, "LOOP"), (109, "ENC"), (110, "LANE8023"),
    (111, "HIPPI"), (112, "NETBSD_HDLC"), (113, "LINUX_SLL"), (114, "LTALK"), (115, "ECONET"),
    (116, "IPFILTER"), (117, "PFLOG"), (118, "CISCO_IOS"), (119, "IEEE802_11_PRISM"), (120, "AIRONET_HEADER"),
    (122, "IP_OVER_FC"), (123, "SUNATM"), (124, "RIO"), (125, "PCI_EXP"), (126, "AURORA"),
    (127, "IEEE802_11_RADIOTAP"), (128, "TZSP"), (129, "ARCNET_LINUX"), (130, "JUNIPER_MLPPP"),
    (131, "JUNIPER_MLFR"), (132, "JUNIPER_ES"), (133, "JUNIPER_GGSN"), (134, "JUNIPER_MFR"),
    (135, "JUNIPER_ATM2"), (136, "JUNIPER_SERVICES"), (137, "JUNIPER_ATM1"), (138, "APPLE_IP_OVER_IEEE1394"),
    (139, "MTP2_WITH_PHDR"), (140, "MTP2"), (141, "MTP3"), (142, "SCCP"), (143, "DOCSIS"), (144, "LINUX_IRDA"),
    (145, "IBM_SP"), (146, "IBM_SN"), (147, "USER0"), (148, "USER1"), (149, "USER2"), (150, "USER3"),
    (151, "USER4"), (152, "USER5"), (153, "USER6"), (154, "USER7"), (155, "USER8"), (156, "USER9"),
    (157, "USER10"), (158, "USER11"), (159, "USER12"), (160, "USER13"), (161, "USER14"), (162, "USER15"),
    (163, "IEEE802_11_AVS"), (164, "JUNIPER_MONITOR"), (165, "BACNET_MS_TP"), (166, "PPP_PPPD"),
    (167, "JUNIPER_PPPOE"), (168, "JUNIPER_PPPOE_ATM"), (169, "GPRS_LLC"), (170, "GPF_T"), (171, "GPF_F"),
    (172, "GCOM_T1E1"), (173, "GCOM_SERIAL"), (174, "JUNIPER_PIC_PEER"), (175, "ERF_ETH"), (176, "ERF_POS"),
    (177, "LINUX_LAPD"), (178, "JUNIPER_ETHER"), (179, "JUNIPER_PPP"), (180, "JUNIPER_FRELAY"),
    (181, "JUNIPER_CHDLC"), (182, "MFR"), (183, "JUNIPER_VP"), (184, "A429"), (185, "A653_ICM"),
    (186, "USB_FREEBSD"), (187, "BLUETOOTH_HCI_H4"), (188, "IEEE802_16_MAC_CPS"), (189, "USB_LINUX"),
    (190, "CAN20B"), (191, "IEEE802_15_4_LINUX"), (192, "PPI"), (193, "IEEE802_16_MAC_CPS_RADIO"),
    (194, "JUNIPER_ISM"), (195, "IEEE802_15_4_WITHFCS"), (196, "SITA"), (197, "ERF"), (198, "RAIF1"),
    (199, "IPMB_KONTRON"), (200, "JUNIPER_ST"), (201, "BLUETOOTH_HCI_H4_WITH_PHDR"), (202, "AX25_KISS"),
    (203, "LAPD"), (204, "PPP_WITH_DIR"), (205, "C_HDLC_WITH_DIR"), (206, "FRELAY_WITH_DIR"),
    (207, "LAPB_WITH_DIR"), (209, "I2C_LINUX"), (210, "FLEXRAY"), (211, "MOST"), (212, "LIN"),
    (213, "X2E_SERIAL"), (214, "X2E_XORAYA"), (215, "IEEE802_15_4_NONASK_PHY"), (216, "LINUX_EVDEV"),
    (217, "GSMTAP_UM"), (218, "GSMTAP_ABIS"), (219, "MPLS"), (220, "USB_LINUX_MMAPPED"), (221, "DECT"),
    (222, "AOS"), (223, "WIHART"), (224, "FC_2"), (225, "FC_2_WITH_FRAME_DELIMS"), (226, "IPNET"),
    (227, "CAN_SOCKETCAN"), (228, "IPV4"), (229, "IPV6"), (230, "IEEE802_15_4_NOFCS"), (231, "DBUS"),
    (232, "JUNIPER_VS"), (233, "JUNIPER_SRX_E2E"), (234, "JUNIPER_FIBRECHANNEL"), (235, "DVB_CI"),
    (236, "MUX27010"), (237, "STANAG_5066_D_PDU"), (238, "JUNIPER_ATM_CEMIC"), (239, "NFLOG"),
    (240, "NETANALYZER"), (241, "NETANALYZER_TRANSPARENT"), (242, "IPOIB"), (243, "MPEG_2_TS"), (244, "NG40"),
    (245, "NFC_LLCP"), (246, "PFSYNC"), (247, "INFINIBAND"), (248, "SCTP"), (249, "USBPCAP"),
    (250, "RTAC_SERIAL"), (251, "BLUETOOTH_LE_LL"), (252, "WIRESHARK_UPPER_PDU"), (253, "NETLINK"),
    (254, "BLUETOOTH_LINUX_MONITOR"), (255, "BLUETOOTH_BREDR_BB"), (256, "BLUETOOTH_LE_LL_WITH_PHDR"),
    (257, "PROFIBUS_DL"), (258, "PKTAP"), (259, "EPON"), (260, "IPMI_HPM_2"), (261, "ZWAVE_R1_R2"),
    (262, "ZWAVE_R3"), (263, "WATTSTOPPER_DLM"), (264, "ISO_14443"), (265, "RDS"), (266, "USB_DARWIN"),
    (267, "OPENFLOW"), (268, "SDLC"), (269, "TI_LLN_SNIFFER"), (270, "LORATAP"), (271, "VSOCK"),
    (272, "NORDIC_BLE"), (273, "DOCSIS31_XRA31"), (274, "ETHERNET_MPACKET"), (275, "DISPLAYPORT_AUX"),
    (276, "LINUX_SLL2"), (277, "SERCOS_MONITOR"), (278, "OPENVIZSLA"), (279, "EBHSCR"), (280, "VPP_DISPATCH"),
    (281, "DSA_TAG_BRCM"), (282, "DSA_TAG_BRCM_PREPEND"), (283, "IEEE802_15_4_TAP"), (284, "DSA_TAG_DSA"),
    (285, "DSA_TAG_EDSA"), (286, "ELEE"), (287, "Z_WAVE_SERIAL"), (288, "USB_2_0"), (289, "ATSC_ALP"),
    (290, "ETW"), (291, "NETANALYZER_NG"), (292, "ZBOSS_NCP"), (293, "USB_2_0_LOW_SPEED"),
    (294, "USB_2_0_FULL_SPEED"), (295, "USB_2_0_HIGH_SPEED"), (296, "AUERSWALD_LOG"), (297, "ZWAVE_TAP"),
    (298, "SILABS_DEBUG_CHANNEL"), (299, "FIRA_UCI"), (300, "MDB"), (301, "DECT_NR"), (302, "EDK2_MM"),
    (303, "DEBUG_ONLY"), (304, "DECT_NR_TAP"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (link, name) in [(0, "0 (NULL)"), (239, "239 (NFLOG)"), (304, "304 (DECT_NR_TAP)")] {
            assert_eq!(LinkType(link).to_string(), name);
        }
        assert_eq!(LinkType(9999).to_string(), "9999");
    }
}
