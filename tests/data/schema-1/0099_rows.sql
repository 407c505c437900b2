INSERT INTO schema_version VALUES (1, TIMESTAMP '2026-05-01 10:00:00');
INSERT INTO codes VALUES ('verdict', 1, 'FORWARDED'), ('verdict', 2, 'DROPPED');
INSERT INTO nodes VALUES (0, 'node-1'), (1, 'other/node-2');
INSERT INTO identities VALUES (0, 'pod', '', 'shop', ['k8s:app=web'], 'web', 'Deployment'), (1, 'world', '', '', ['reserved:world'], '', '');
INSERT INTO peers VALUES (0, 0, 'web-1', '10.0.0.1'), (1, 1, '', '203.0.113.7');
INSERT INTO policy_sets VALUES (1, ['CiliumNetworkPolicy:shop/web']);
INSERT INTO edges VALUES (0, 0, '', 1, '203.0.113.7', [], 6, 443, TIMESTAMP '2026-05-28 20:26:41', 'no', '', 'pages', ['port'], '', '', []);
INSERT INTO edge_activity VALUES
    (TIMESTAMP_MS '2026-05-28 20:26:41', TIMESTAMP_MS '2026-05-28 20:26:40', 0, 2, 2, 2, 1, 1),
    (TIMESTAMP_MS '2026-05-28 20:28:10', TIMESTAMP_MS '2026-05-28 20:28:09', 0, 2, 2, 3, 2, 0);
INSERT INTO flows
SELECT TIMESTAMP_MS '2026-05-28 20:26:40' + to_seconds(n), 0, 5, 0, 2, 133, 1, 0, 1, 1, 2, 0, 1, 6, 40000, 443, 2, 1, NULL, 0, 0, 0, NULL, 0, NULL, NULL, 0, 0, 1, 0
FROM range(5) AS numbers (n);
INSERT INTO findings VALUES ('00112233aabbccdd', 'denied', 'test', 'shop/web', '203.0.113.7', '443/TCP', 'egress', 'shop', '', '', 'pages', ['port'], '', 'shop/web was denied', TIMESTAMP '2026-05-28 20:26:40', TIMESTAMP '2026-05-28 20:28:10', 5, 3, ['uuid-1'], ['POLICY_DENIED'], ['CiliumNetworkPolicy:shop/web'], 1.0, true);
INSERT INTO coverage VALUES (TIMESTAMP '2026-05-28 20:26:00', 'node-1', 5, 0, 1, 0, 0, true);
INSERT INTO rules VALUES (0, 'pages', 'because', 'shop', 'allowlist.yaml:5');
