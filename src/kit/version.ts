// Versions this server states. NATS clients gate features on `NATS_VERSION`, which names the level of the protocol that is spoken
// (nats-surface, "Baseline to advertise"), not this product's own.

export const FLOTILLA_VERSION = '0.1.0';
export const NATS_VERSION = '2.14.0';
/** JetStream API level (ADR-44). */
export const API_LEVEL = 1;
/** Of everything on disk and between nodes: a node that meets a newer one refuses. */
export const FORMAT_VERSION = 3;
