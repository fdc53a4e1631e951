// INFO, the server's greeting (nats-surface §1.2): what the composition root knows of the node, and what the front adds per client.
// Pure. Absent fields are left out, because clients read their presence.

/** Given by the composition root; asked for anew at every INFO. */
export interface InfoFields {
  server_id: string;
  server_name: string;
  version: string;
  /** Informational. */
  go?: string;
  git_commit?: string;
  jetstream: boolean;
  domain?: string;
  /** JetStream API level. */
  api_lvl: number;
  /** Cluster name. */
  cluster?: string;
  /** `host:port` of every node's client listener, own first; undefined when not clustered or not advertised. */
  connect_urls?: readonly string[];
  /** This node's own entries of `connect_urls`: left out while it shuts down. */
  own_urls?: readonly string[];
}

export interface ClientInfo {
  host: string;
  port: number;
  max_payload: number;
  auth_required: boolean;
  client_id: number;
  client_ip: string;
  ldm: boolean;
}

export function infoLine(fields: InfoFields, client: ClientInfo): string {
  const { own_urls, connect_urls, ...rest } = fields;
  const urls = client.ldm ? connect_urls?.filter((url) => !own_urls?.includes(url)) : connect_urls;
  const info = {
    ...rest,
    go: rest.go ?? 'none',
    proto: 1,
    headers: true,
    host: client.host,
    port: client.port,
    max_payload: client.max_payload,
    auth_required: client.auth_required ? true : undefined,
    client_id: client.client_id,
    client_ip: client.client_ip,
    connect_urls: urls !== undefined && urls.length > 0 ? urls : undefined,
    ldm: client.ldm ? true : undefined,
  };
  return `INFO ${JSON.stringify(info)} \r\n`;
}
