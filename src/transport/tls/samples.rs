//! The first record of a node that dials, under each kind of cipher suite, with the secret that its key log has of it.
//!
//! From nodes of OTP 25.2.3 and 27.3.4.1 that were made to choose the suite; those with `encrypt_then_mac` from OpenSSL 3.0,
//! which carried the bytes of such nodes. The content is `send_name` behind its length of four bytes.

/// One record, all bytes in hex.
pub(super) struct SampleRecord {
    /// The cipher suite that the server selected.
    pub(super) suite: u16,
    /// Whether the server selected `encrypt_then_mac`.
    pub(super) encrypt_then_mac: bool,
    /// The random bytes of both hellos; only TLS 1.2 needs them.
    pub(super) randoms: Option<[&'static str; 2]>,
    /// The master secret, or the client's first traffic secret.
    pub(super) secret: &'static str,
    /// The number of the record.
    pub(super) number: u64,
    /// Header and body of the record.
    pub(super) record: [&'static str; 2],
}

pub(super) const RECORDS: &[SampleRecord] = &[
    // AES_128_CBC_SHA
    SampleRecord {
        suite: 0xc009,
        encrypt_then_mac: true,
        randoms: Some([
            "6efd49699cc76e9266dc28f92ed73a6fec0c42909ee1f604c8f63a2f5c914498",
            "93b5afd4f00a779931fb303cd4b5117ca395d0280d789a995fd63c5c13f1d20c",
        ]),
        secret: "258e295773c0cc49765da71eac7ac033988a2a09adf9e089fec0efbd1f45da882818b4b97f268f7f741cd44096470f73",
        number: 1,
        record: [
            "1703030044",
            "54711e55a1a04cb6c2035b491dd3c121b1a68b3c155307a7744309af532b8d808c946568705f7f6231ff443b967cdcc9\
             c36aa461994cfd978ec5d57ea5dcdc786cf0bdcc",
        ],
    },
    // AES_128_CBC_SHA256
    SampleRecord {
        suite: 0xc023,
        encrypt_then_mac: true,
        randoms: Some([
            "97d7721861f6d08a599e607ce7183963f82a6bd5e8490dc94464ef7d36160ca6",
            "635f509e976782083dd986c4a472129ac6bd178841c122f92934cbc48d6836e3",
        ]),
        secret: "403b063970fd7e6772cf57457359d7e3dacd1510c0ff2fd6f170b865001c3db13852e9d820b3022adc5078536062e6a6",
        number: 1,
        record: [
            "1703030050",
            "d6ac783faee5ffe390a553f4a3697101cba6d7473308fd4bbda73f3d798cfc1dcd1035b3421626370d0fdbd95406a906\
             83bcd4b539a525c2236f749051affbbcc9f0d2c9b2b23c0d3ef8256aabce0a88",
        ],
    },
    // AES_256_CBC_SHA384
    SampleRecord {
        suite: 0xc024,
        encrypt_then_mac: true,
        randoms: Some([
            "4b1eaa23e361243c7a5f3930d1ec8c198e6bc46735778af92b080b7cb4bd36bd",
            "a73e4ca93aff141aa67705e6ac4a720340698aa95eff214cc669996825e3d00d",
        ]),
        secret: "b3d688693018ca5568e850a29c269d41f3a74ac9228c79579fa1372791615fc24c766182b5160d184b2f669708900c45",
        number: 1,
        record: [
            "1703030060",
            "ec75c09173db0615d418608b37b1c6cd96671c28085ec201300b91fb2635be868461eb637ae423f701bce9b2a4a31624\
             c4b3f890a62834ed25299843ab0ef3463e0255a6f3102f23a8d7706f7e999042dc52a22b09860f718759e7db1db5c089",
        ],
    },
    // AES_256_GCM_SHA384
    SampleRecord {
        suite: 0xc02c,
        encrypt_then_mac: false,
        randoms: Some([
            "cb829d3b6a9c2d720edb712ddaebb498dac243b164f7bf52e89e0e638917a116",
            "17a5b72939c0e5be7c6d8eaa9715d69aa8a4ba92fdf61ff5d2fd192cfb7028d4",
        ]),
        secret: "cb338e30178e8b0c749d68851f9352f9c54fc80b0b332258de56b5a09dfa8b0d6fc3a8f2aa1dbfbec03145dfbeca05b8",
        number: 1,
        record: [
            "1703030037",
            "c8147558fab15a29cb91abac93e4b2dd2c86071fe02f0f5c4157ff4bb1966b1699719a119adee7eb05e4e5ae32ba2a4a\
             02dc9ed5b2b02d",
        ],
    },
    // AES_256_CBC_SHA384
    SampleRecord {
        suite: 0xc024,
        encrypt_then_mac: false,
        randoms: Some([
            "01e9a3ac4de0e2616a967db5e5e88c00adf02bb104a8867f3824ded2a28ee5dd",
            "bca713af52231dd0b3f4dcd011c34af7464ecfc3522781bcbb5c8985755fb2ea",
        ]),
        secret: "20a9db126795ed9ec44d0b853287adb0db72431334d44e2ae4f1a8bf4abf1ebef2334fc1e6b8a0beda76e626bb889734",
        number: 1,
        record: [
            "1703030060",
            "0a828e3d1a3dc95164ad8b968ca83d8be290d5a6e55c4962a653ebc72f3959d60654c32b58854c721960f92c7e368a34\
             65ccd5e2d8c7e2dcc72dda6731a8b353252f4934289db8c60f537b4c214b9402dfaa639a9e2b3fab71232f84c2ab3f25",
        ],
    },
    // AES_256_CBC_SHA256
    SampleRecord {
        suite: 0x003d,
        encrypt_then_mac: true,
        randoms: Some([
            "c8a503b3ab351b6bb7f3a31e0c3d30f56d51edaf1b614ebbfe097cbd812d47df",
            "6b18e6e20bdd684cefa52e1ee414af02487432c652eceaecaef377d5568ee548",
        ]),
        secret: "0fed2cd3a91a984606dc9ce094c38bcb030a64e1174a724e7634be8b78a21f4305b224e6654465c272cc6a4860f9129b",
        number: 1,
        record: [
            "1703030050",
            "9bc47d7d6795e91def74937fed2d4b97896e7904beb0c6891a83ade1dd40a64ed840c19f955291d88d4b3e28534b1ed3\
             3f4af25c1eaaf8ecf635a47dc68c6b88a0bf053664f9e2641d3110b82ce115a9",
        ],
    },
    // AES_128_CBC_SHA256
    SampleRecord {
        suite: 0xc023,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d131c8a79c4ba53e28ae5f5ee0f25fe46aaa16bba6e715a46d3481bc2eadb",
            "6b0d131c9cc61ac4d1727432a3e85d200d6bc5cfdbef56efe6705c84d4243785",
        ]),
        secret: "9dd0f3a0ea90d7fdb3056f92c3ee722a802f74016bb7ee7bdd60ca5cecd6d75af47b898e465c4c69834820ecce82586a",
        number: 1,
        record: [
            "1703030060",
            "c11556187b684deae316f115d7e126c548b979bea84b8ffa751c37f5a36c23b1f484e03f88e835b631ed3c27039d0afc\
             c26918f95fd3a264c746224525ab0aeba626ea3fe3ab1fe2572f9fc66c716c5fd2da31bd430823493256ad4ff2369c6b",
        ],
    },
    // AES_128_GCM_SHA256
    SampleRecord {
        suite: 0x009c,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d12a04b0ce3e4d99de70b09aca65c3818bea98fa909f573a88c8c2a3ac749",
            "6b0d12a08da46ce3decf1df13c392ad5f7db5e99e71240b1734996d259818954",
        ]),
        secret: "c8864b02519d5f0e73e9ba0c359bb89ffbc08a5d63cbcd102e96e27036c144013b5e8afedeb472118a7ff72d398700c7",
        number: 1,
        record: [
            "170303003b",
            "041e981a1d0f13203a355ea48a955efb7bee723073a25e1020df222b079020b6779aadad49ac4ac22f22bf37535cb1f3\
             5de9f8e82834ebe450bf51",
        ],
    },
    // AES_256_CBC_SHA
    SampleRecord {
        suite: 0x0035,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d12a54ad012d411880d5a3ebcd90f68e67ce34a0a37099ce9e1ab950611df",
            "6b0d12a5e19c83d1c9574c802c3e367244e60ac5a4880e989cf680da0e13b90f",
        ]),
        secret: "faa0ec28a2a6ff2771fa6e5c9cbb3c13da6e3c683b9fae0b6cfdb2585ec8823b13a30aca9f58938ef67bac259d2e62c7",
        number: 1,
        record: [
            "1703030050",
            "5165272f5ff4ad0ac7583088e387c6c5043d9b08a742928c3361053afd35137fcde59d626e2116e211c789862275e131\
             598fe3b4d8068fb3ec03ae02e5e7aea276d6bb62ef0c4dddef221710a727fd66",
        ],
    },
    // CHACHA20_POLY1305_SHA256
    SampleRecord {
        suite: 0xccaa,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d12b7cc720b48c6e43c020df1cc1baf8914be7d314ee358f03e92ae557ecc",
            "6b0d12b7f8c5c17cbedd7686a093a15b17c1cbc2382f6c2135a7c9ad36de7631",
        ]),
        secret: "ec76934872242c2a4788643180762835b8a71bf8771273e5a7e66cfebeea95a33984f1b2d85cb484569e6699ee31885f",
        number: 1,
        record: [
            "1703030033",
            "cd86724a588789ceedaf40794a84b87566206957d5565b42717456ad60b36201bec233734b296eefbabff0351f7fd2f6\
             d0b08a",
        ],
    },
    // AES_128_CCM
    SampleRecord {
        suite: 0xc0ac,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d125785b092a9742fb0ac6c740fca9e8bd22964316d08ec3bf53920856f3b",
            "6b0d125735e35008ca198415066c64d757a07afdcd36d46070e64b01065510bf",
        ]),
        secret: "110a32c6eaa2890bd5722250025db4389cba867a42ed145ce9301eb352afc5acb73faa58687aac04b4950d13708b4930",
        number: 1,
        record: [
            "170303003b",
            "4a45564e9a8adc5a6d202edce0cf7515de318b347dcfc0c76ec54d1e62392498eb189adc0c0d028310ed3355b5a07de3\
             254bd07ccc370047eb1625",
        ],
    },
    // AES_128_CCM_8
    SampleRecord {
        suite: 0xc0ae,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d12630928216eadde653dc7107f76ce350fcbf2a2e566d97f4f82bc001b5b",
            "6b0d1263702e08bb5fb6d9ce49ba89e57037e8dd3e79cd769a088440bb7e950c",
        ]),
        secret: "92a1c5c9e6968425da27a97a0a631fb059ddd77c109ecda29182745cbcd802907c08d87c68a932af8a1f89e002beb8fa",
        number: 1,
        record: [
            "1703030033",
            "6c14ba87a99e7ed8d618f40dbab99c0b65099c62ec0231eb1044322682cf55a27c43d9bf6362cc588a7122dbda93fea2\
             96ea14",
        ],
    },
    // AES_128_CBC_SHA
    SampleRecord {
        suite: 0xc009,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d126f7ce5f741a540e83d7027d472a27590824b27f86df10986a5dcef5e96",
            "6b0d126f72bdff338010ddfd40b9ab0dca51f136a5e5b3c183fbaefdae07b4e6",
        ]),
        secret: "902173fdb49d12ce653ca894ba2f89bfbd74c901880270bcb2cdb44fa674e5c3ef6b505e60e9d1bcfe5877c04bb3be84",
        number: 1,
        record: [
            "1703030050",
            "8a3bdc41358a7ec32d995fe66caebce58750025ac35c67388fc6a26f242350e2a724a1e5cab4bc510daf0da051e08986\
             28dd20a50d7cc6c331140805e60fc11ef89811b3a1cf311a7bdcb103b03bffdb",
        ],
    },
    // AES_256_CCM
    SampleRecord {
        suite: 0xc0ad,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d125d03172b42d6bf71500e5f242d4d4472252f8233aa3930cf72acb8f195",
            "6b0d125dcc0ace9ad6e6f0d712161e027a11d0e129b240a9f5975c7b5d78ca94",
        ]),
        secret: "ad703d0fcbeba49b004c722a257b4b63c2f70d8c3692f28f5afa2ab6ac2cfd071838f2c271593e9feeea28f21e179201",
        number: 1,
        record: [
            "170303003b",
            "5dea0268fd72ed6d1da8ffe57eb1d0948a324492e7568bcbb94ae11efe96d22e989fb49208290eaad7f8b5dde8fee6c2\
             4647f6d0df767afc9a984f",
        ],
    },
    // AES_256_CCM_8
    SampleRecord {
        suite: 0xc0af,
        encrypt_then_mac: false,
        randoms: Some([
            "6b0d1269bc00f08ac3d508e61787a0592d86bc209aed796f0de6a358ff43a350",
            "6b0d1269c9ba5ef0fbfdc7b5040e22fc91f726fcc1a756389687cf4e5dca64b1",
        ]),
        secret: "d75ba37d2404cd8e3fb7321997b7a4087fc94d616fc60b1ea1bc1e35d999db8f3d7ed236affb1089bfdf36a48ed16039",
        number: 1,
        record: [
            "1703030033",
            "b928bfdc30b26608f07d4267de5fc53b3ead374be3e4778cd1d54ebff3cddc295b840055a12027d47f393d474970be11\
             21b213",
        ],
    },
    // TLS_AES_256_GCM_SHA384
    SampleRecord {
        suite: 0x1302,
        encrypt_then_mac: false,
        randoms: None,
        secret: "3d4a9bdb25cb962b83317c62c460caa400e4f0a963824046a2895b4c92fb9aa243d52182e3ddb09605fd8b8c23230e27",
        number: 0,
        record: [
            "1703030034",
            "d309ec49d37fe54ae7e96b6c17ab0a78b12a196a12de5ae59d0abda129b19818eaccc3efd0570814bf549dc79921b252\
             82afec1c",
        ],
    },
    // TLS_AES_128_CCM_SHA256
    SampleRecord {
        suite: 0x1304,
        encrypt_then_mac: false,
        randoms: None,
        secret: "e297233efae53d646e061c8eb4735660e3e879a9f72c4df756c4b007442c12ed",
        number: 0,
        record: [
            "1703030034",
            "f79800b1128a9f96355423d7a1e7d2fbfe8d89e6c46e5cd12eee9317e4041b4f0a1f5dfb9143274dfc3b88f61349a9fa\
             180c36d7",
        ],
    },
    // TLS_AES_128_CCM_8_SHA256
    SampleRecord {
        suite: 0x1305,
        encrypt_then_mac: false,
        randoms: None,
        secret: "2da9ca11aefa01c6ee2230c5f1b20bd4847643bc7ee7dceb9000dbb6a3d0bcc9",
        number: 0,
        record: [
            "170303002c",
            "777fce5084c099ea0cef9e07181c2d73b49b7c7a2c1a67f4a262dda29f90d71d1c11cec781b2d02c89bd3197",
        ],
    },
    // TLS_AES_128_GCM_SHA256
    SampleRecord {
        suite: 0x1301,
        encrypt_then_mac: false,
        randoms: None,
        secret: "b2003f13e7bb5f931f44ee34ed39169edebb0e958548242edd5f6e12e40b5122",
        number: 0,
        record: [
            "1703030034",
            "2a15374c39b64bf8e364069e4906ff97a40b5267bbff06640dae85537887dea455c79cf7dd1903309c0af9099d88fa43\
             c0c06d52",
        ],
    },
    // TLS_CHACHA20_POLY1305_SHA256
    SampleRecord {
        suite: 0x1303,
        encrypt_then_mac: false,
        randoms: None,
        secret: "86f19280507c8759b156617e16fb3b35eecc5337274cba795d468feaaf76155b",
        number: 0,
        record: [
            "1703030034",
            "4bba1405c03dc6d0c9201ff136575128076589811c16aa43141ccb47442dd21022726bf4cdda233d590d17cc417ff387\
             eaf98e18",
        ],
    },
];
