import * as $protobuf from "protobufjs/minimal.js";
import Long = require("long");

/** Namespace frames. */
export namespace frames {

    /**
     * Properties of a FrameHeader.
     * @deprecated Use frames.FrameHeader.$Properties instead.
     */
    interface IFrameHeader extends frames.FrameHeader.$Properties {
    }

    /** Represents a FrameHeader. */
    class FrameHeader {

        /**
         * Constructs a new FrameHeader.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.FrameHeader.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** FrameHeader data. */
        data?: (frames.Data.$Properties|null);

        /** FrameHeader heartbeat. */
        heartbeat?: (frames.Heartbeat.$Properties|null);

        /** FrameHeader hello. */
        hello?: (frames.Hello.$Properties|null);

        /** FrameHeader proof. */
        proof?: (frames.Proof.$Properties|null);

        /** FrameHeader welcome. */
        welcome?: (frames.Welcome.$Properties|null);

        /** FrameHeader refusal. */
        refusal?: (frames.Refusal.$Properties|null);

        /** FrameHeader gossip. */
        gossip?: (frames.Gossip.$Properties|null);

        /** FrameHeader kind. */
        kind?: ("data"|"heartbeat"|"hello"|"proof"|"welcome"|"refusal"|"gossip");

        /**
         * Encodes the specified FrameHeader message. Does not implicitly {@link frames.FrameHeader.verify|verify} messages.
         * @param message FrameHeader message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.FrameHeader.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a FrameHeader message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.FrameHeader & frames.FrameHeader.$Shape} FrameHeader
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.FrameHeader & frames.FrameHeader.$Shape;
    }

    namespace FrameHeader {

        /** Properties of a FrameHeader. */
        interface $Properties {

            /** FrameHeader data */
            data?: (frames.Data.$Properties|null);

            /** FrameHeader heartbeat */
            heartbeat?: (frames.Heartbeat.$Properties|null);

            /** FrameHeader hello */
            hello?: (frames.Hello.$Properties|null);

            /** FrameHeader proof */
            proof?: (frames.Proof.$Properties|null);

            /** FrameHeader welcome */
            welcome?: (frames.Welcome.$Properties|null);

            /** FrameHeader refusal */
            refusal?: (frames.Refusal.$Properties|null);

            /** FrameHeader gossip */
            gossip?: (frames.Gossip.$Properties|null);

            /** FrameHeader kind */
            kind?: ("data"|"heartbeat"|"hello"|"proof"|"welcome"|"refusal"|"gossip");

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Narrowed shape of a FrameHeader. */
        type $Shape = {
          data?: frames.Data.$Shape|null;
          heartbeat?: frames.Heartbeat.$Shape|null;
          hello?: frames.Hello.$Shape|null;
          proof?: frames.Proof.$Shape|null;
          welcome?: frames.Welcome.$Shape|null;
          refusal?: frames.Refusal.$Shape|null;
          gossip?: frames.Gossip.$Shape|null;
          $unknowns?: Uint8Array[];
        } & (
          ({ kind?: undefined; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "data"; data: frames.Data.$Shape; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "heartbeat"; data?: null; heartbeat: frames.Heartbeat.$Shape; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "hello"; data?: null; heartbeat?: null; hello: frames.Hello.$Shape; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "proof"; data?: null; heartbeat?: null; hello?: null; proof: frames.Proof.$Shape; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "welcome"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome: frames.Welcome.$Shape; refusal?: null; gossip?: null }|{ kind?: "refusal"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal: frames.Refusal.$Shape; gossip?: null }|{ kind?: "gossip"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip: frames.Gossip.$Shape })
        );
    }

    /**
     * Properties of a Data.
     * @deprecated Use frames.Data.$Properties instead.
     */
    interface IData extends frames.Data.$Properties {
    }

    /** Represents a Data. */
    class Data {

        /**
         * Constructs a new Data.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Data.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Data channel. */
        channel: number[];

        /** Data length. */
        length: number[];

        /**
         * Encodes the specified Data message. Does not implicitly {@link frames.Data.verify|verify} messages.
         * @param message Data message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Data.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Data message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Data & frames.Data.$Shape} Data
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Data & frames.Data.$Shape;
    }

    namespace Data {

        /** Properties of a Data. */
        interface $Properties {

            /** Data channel */
            channel?: (number[]|null);

            /** Data length */
            length?: (number[]|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Data. */
        type $Shape = frames.Data.$Properties;
    }

    /**
     * Properties of a Heartbeat.
     * @deprecated Use frames.Heartbeat.$Properties instead.
     */
    interface IHeartbeat extends frames.Heartbeat.$Properties {
    }

    /** Represents a Heartbeat. */
    class Heartbeat {

        /**
         * Constructs a new Heartbeat.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Heartbeat.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Heartbeat bootId. */
        bootId: number;

        /** Heartbeat wallUs. */
        wallUs: number;

        /** Heartbeat durable. */
        durable: number;

        /** Heartbeat durableSeen. */
        durableSeen: number;

        /** Heartbeat clusterUs. */
        clusterUs: number;

        /** Heartbeat seenBootId. */
        seenBootId: number;

        /** Heartbeat seenBefore. */
        seenBefore: number;

        /** Heartbeat diskLow. */
        diskLow: boolean;

        /**
         * Encodes the specified Heartbeat message. Does not implicitly {@link frames.Heartbeat.verify|verify} messages.
         * @param message Heartbeat message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Heartbeat.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Heartbeat message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Heartbeat & frames.Heartbeat.$Shape} Heartbeat
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Heartbeat & frames.Heartbeat.$Shape;
    }

    namespace Heartbeat {

        /** Properties of a Heartbeat. */
        interface $Properties {

            /** Heartbeat bootId */
            bootId?: (number|null);

            /** Heartbeat wallUs */
            wallUs?: (number|null);

            /** Heartbeat durable */
            durable?: (number|null);

            /** Heartbeat durableSeen */
            durableSeen?: (number|null);

            /** Heartbeat clusterUs */
            clusterUs?: (number|null);

            /** Heartbeat seenBootId */
            seenBootId?: (number|null);

            /** Heartbeat seenBefore */
            seenBefore?: (number|null);

            /** Heartbeat diskLow */
            diskLow?: (boolean|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Heartbeat. */
        type $Shape = frames.Heartbeat.$Properties;
    }

    /**
     * Properties of a Hello.
     * @deprecated Use frames.Hello.$Properties instead.
     */
    interface IHello extends frames.Hello.$Properties {
    }

    /** Represents a Hello. */
    class Hello {

        /**
         * Constructs a new Hello.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Hello.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Hello format. */
        format: number;

        /** Hello clusterName. */
        clusterName: string;

        /** Hello clusterId. */
        clusterId: string;

        /** Hello id. */
        id: number;

        /** Hello bootId. */
        bootId: number;

        /** Hello name. */
        name: string;

        /** Hello clientUrl. */
        clientUrl: string;

        /** Hello clusterUrl. */
        clusterUrl: string;

        /** Hello monitorUrl. */
        monitorUrl: string;

        /** Hello nonce. */
        nonce: Uint8Array;

        /** Hello bulk. */
        bulk: boolean;

        /**
         * Encodes the specified Hello message. Does not implicitly {@link frames.Hello.verify|verify} messages.
         * @param message Hello message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Hello.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Hello message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Hello & frames.Hello.$Shape} Hello
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Hello & frames.Hello.$Shape;
    }

    namespace Hello {

        /** Properties of a Hello. */
        interface $Properties {

            /** Hello format */
            format?: (number|null);

            /** Hello clusterName */
            clusterName?: (string|null);

            /** Hello clusterId */
            clusterId?: (string|null);

            /** Hello id */
            id?: (number|null);

            /** Hello bootId */
            bootId?: (number|null);

            /** Hello name */
            name?: (string|null);

            /** Hello clientUrl */
            clientUrl?: (string|null);

            /** Hello clusterUrl */
            clusterUrl?: (string|null);

            /** Hello monitorUrl */
            monitorUrl?: (string|null);

            /** Hello nonce */
            nonce?: (Uint8Array|null);

            /** Hello bulk */
            bulk?: (boolean|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Hello. */
        type $Shape = frames.Hello.$Properties;
    }

    /**
     * Properties of a Proof.
     * @deprecated Use frames.Proof.$Properties instead.
     */
    interface IProof extends frames.Proof.$Properties {
    }

    /** Represents a Proof. */
    class Proof {

        /**
         * Constructs a new Proof.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Proof.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Proof mac. */
        mac: Uint8Array;

        /**
         * Encodes the specified Proof message. Does not implicitly {@link frames.Proof.verify|verify} messages.
         * @param message Proof message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Proof.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Proof message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Proof & frames.Proof.$Shape} Proof
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Proof & frames.Proof.$Shape;
    }

    namespace Proof {

        /** Properties of a Proof. */
        interface $Properties {

            /** Proof mac */
            mac?: (Uint8Array|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Proof. */
        type $Shape = frames.Proof.$Properties;
    }

    /**
     * Properties of a Welcome.
     * @deprecated Use frames.Welcome.$Properties instead.
     */
    interface IWelcome extends frames.Welcome.$Properties {
    }

    /** Represents a Welcome. */
    class Welcome {

        /**
         * Constructs a new Welcome.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Welcome.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /**
         * Encodes the specified Welcome message. Does not implicitly {@link frames.Welcome.verify|verify} messages.
         * @param message Welcome message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Welcome.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Welcome message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Welcome & frames.Welcome.$Shape} Welcome
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Welcome & frames.Welcome.$Shape;
    }

    namespace Welcome {

        /** Properties of a Welcome. */
        interface $Properties {

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Welcome. */
        type $Shape = frames.Welcome.$Properties;
    }

    /**
     * Properties of a Refusal.
     * @deprecated Use frames.Refusal.$Properties instead.
     */
    interface IRefusal extends frames.Refusal.$Properties {
    }

    /** Represents a Refusal. */
    class Refusal {

        /**
         * Constructs a new Refusal.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Refusal.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Refusal reason. */
        reason: string;

        /** Refusal duplicate. */
        duplicate: boolean;

        /**
         * Encodes the specified Refusal message. Does not implicitly {@link frames.Refusal.verify|verify} messages.
         * @param message Refusal message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Refusal.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Refusal message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Refusal & frames.Refusal.$Shape} Refusal
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Refusal & frames.Refusal.$Shape;
    }

    namespace Refusal {

        /** Properties of a Refusal. */
        interface $Properties {

            /** Refusal reason */
            reason?: (string|null);

            /** Refusal duplicate */
            duplicate?: (boolean|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Refusal. */
        type $Shape = frames.Refusal.$Properties;
    }

    /**
     * Properties of a Gossip.
     * @deprecated Use frames.Gossip.$Properties instead.
     */
    interface IGossip extends frames.Gossip.$Properties {
    }

    /** Represents a Gossip. */
    class Gossip {

        /**
         * Constructs a new Gossip.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.Gossip.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** Gossip id. */
        id: number[];

        /** Gossip clusterUrl. */
        clusterUrl: string[];

        /**
         * Encodes the specified Gossip message. Does not implicitly {@link frames.Gossip.verify|verify} messages.
         * @param message Gossip message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.Gossip.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a Gossip message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.Gossip & frames.Gossip.$Shape} Gossip
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.Gossip & frames.Gossip.$Shape;
    }

    namespace Gossip {

        /** Properties of a Gossip. */
        interface $Properties {

            /** Gossip id */
            id?: (number[]|null);

            /** Gossip clusterUrl */
            clusterUrl?: (string[]|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a Gossip. */
        type $Shape = frames.Gossip.$Properties;
    }

    /**
     * Properties of a RpcHeader.
     * @deprecated Use frames.RpcHeader.$Properties instead.
     */
    interface IRpcHeader extends frames.RpcHeader.$Properties {
    }

    /** Represents a RpcHeader. */
    class RpcHeader {

        /**
         * Constructs a new RpcHeader.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.RpcHeader.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** RpcHeader id. */
        id: number;

        /** RpcHeader method. */
        method: string;

        /** RpcHeader refused. */
        refused: boolean;

        /**
         * Encodes the specified RpcHeader message. Does not implicitly {@link frames.RpcHeader.verify|verify} messages.
         * @param message RpcHeader message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.RpcHeader.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a RpcHeader message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.RpcHeader & frames.RpcHeader.$Shape} RpcHeader
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.RpcHeader & frames.RpcHeader.$Shape;
    }

    namespace RpcHeader {

        /** Properties of a RpcHeader. */
        interface $Properties {

            /** RpcHeader id */
            id?: (number|null);

            /** RpcHeader method */
            method?: (string|null);

            /** RpcHeader refused */
            refused?: (boolean|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a RpcHeader. */
        type $Shape = frames.RpcHeader.$Properties;
    }

    /**
     * Properties of an EntryBatch.
     * @deprecated Use frames.EntryBatch.$Properties instead.
     */
    interface IEntryBatch extends frames.EntryBatch.$Properties {
    }

    /** Represents an EntryBatch. */
    class EntryBatch {

        /**
         * Constructs a new EntryBatch.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.EntryBatch.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** EntryBatch index. */
        index: number[];

        /** EntryBatch term. */
        term: number[];

        /** EntryBatch kind. */
        kind: number[];

        /** EntryBatch bodyCrc. */
        bodyCrc: number[];

        /** EntryBatch bodyLength. */
        bodyLength: number[];

        /** EntryBatch next. */
        next: number;

        /** EntryBatch commit. */
        commit: number;

        /** EntryBatch gone. */
        gone: boolean;

        /**
         * Encodes the specified EntryBatch message. Does not implicitly {@link frames.EntryBatch.verify|verify} messages.
         * @param message EntryBatch message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.EntryBatch.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes an EntryBatch message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.EntryBatch & frames.EntryBatch.$Shape} EntryBatch
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.EntryBatch & frames.EntryBatch.$Shape;
    }

    namespace EntryBatch {

        /** Properties of an EntryBatch. */
        interface $Properties {

            /** EntryBatch index */
            index?: (number[]|null);

            /** EntryBatch term */
            term?: (number[]|null);

            /** EntryBatch kind */
            kind?: (number[]|null);

            /** EntryBatch bodyCrc */
            bodyCrc?: (number[]|null);

            /** EntryBatch bodyLength */
            bodyLength?: (number[]|null);

            /** EntryBatch next */
            next?: (number|null);

            /** EntryBatch commit */
            commit?: (number|null);

            /** EntryBatch gone */
            gone?: (boolean|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of an EntryBatch. */
        type $Shape = frames.EntryBatch.$Properties;
    }

    /**
     * Properties of a SnapshotOffer.
     * @deprecated Use frames.SnapshotOffer.$Properties instead.
     */
    interface ISnapshotOffer extends frames.SnapshotOffer.$Properties {
    }

    /** Represents a SnapshotOffer. */
    class SnapshotOffer {

        /**
         * Constructs a new SnapshotOffer.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.SnapshotOffer.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** SnapshotOffer group. */
        group: number;

        /** SnapshotOffer index. */
        index: number;

        /** SnapshotOffer term. */
        term: number;

        /** SnapshotOffer membership. */
        membership: Uint8Array;

        /** SnapshotOffer stateBytes. */
        stateBytes: number;

        /** SnapshotOffer stateCrc. */
        stateCrc: number;

        /**
         * Encodes the specified SnapshotOffer message. Does not implicitly {@link frames.SnapshotOffer.verify|verify} messages.
         * @param message SnapshotOffer message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.SnapshotOffer.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a SnapshotOffer message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.SnapshotOffer & frames.SnapshotOffer.$Shape} SnapshotOffer
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.SnapshotOffer & frames.SnapshotOffer.$Shape;
    }

    namespace SnapshotOffer {

        /** Properties of a SnapshotOffer. */
        interface $Properties {

            /** SnapshotOffer group */
            group?: (number|null);

            /** SnapshotOffer index */
            index?: (number|null);

            /** SnapshotOffer term */
            term?: (number|null);

            /** SnapshotOffer membership */
            membership?: (Uint8Array|null);

            /** SnapshotOffer stateBytes */
            stateBytes?: (number|null);

            /** SnapshotOffer stateCrc */
            stateCrc?: (number|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a SnapshotOffer. */
        type $Shape = frames.SnapshotOffer.$Properties;
    }

    /**
     * Properties of a SnapshotAnswer.
     * @deprecated Use frames.SnapshotAnswer.$Properties instead.
     */
    interface ISnapshotAnswer extends frames.SnapshotAnswer.$Properties {
    }

    /** Represents a SnapshotAnswer. */
    class SnapshotAnswer {

        /**
         * Constructs a new SnapshotAnswer.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.SnapshotAnswer.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** SnapshotAnswer outcome. */
        outcome: number;

        /**
         * Encodes the specified SnapshotAnswer message. Does not implicitly {@link frames.SnapshotAnswer.verify|verify} messages.
         * @param message SnapshotAnswer message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.SnapshotAnswer.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a SnapshotAnswer message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.SnapshotAnswer & frames.SnapshotAnswer.$Shape} SnapshotAnswer
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.SnapshotAnswer & frames.SnapshotAnswer.$Shape;
    }

    namespace SnapshotAnswer {

        /** Properties of a SnapshotAnswer. */
        interface $Properties {

            /** SnapshotAnswer outcome */
            outcome?: (number|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a SnapshotAnswer. */
        type $Shape = frames.SnapshotAnswer.$Properties;
    }

    /**
     * Properties of a TransferRequest.
     * @deprecated Use frames.TransferRequest.$Properties instead.
     */
    interface ITransferRequest extends frames.TransferRequest.$Properties {
    }

    /** Represents a TransferRequest. */
    class TransferRequest {

        /**
         * Constructs a new TransferRequest.
         * @param [properties] Properties to set
         */
        constructor(properties?: frames.TransferRequest.$Properties);

        /** Unknown fields preserved while decoding when enabled */
        $unknowns?: Uint8Array[];

        /** TransferRequest group. */
        group: number;

        /** TransferRequest index. */
        index: number;

        /** TransferRequest from. */
        from: number;

        /** TransferRequest to. */
        to: number;

        /**
         * Encodes the specified TransferRequest message. Does not implicitly {@link frames.TransferRequest.verify|verify} messages.
         * @param message TransferRequest message or plain object to encode
         * @param [writer] Writer to encode to
         * @returns Writer
         */
        static encode(message: frames.TransferRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

        /**
         * Decodes a TransferRequest message from the specified reader or buffer.
         * @param reader Reader or buffer to decode from
         * @param [length] Message length if known beforehand
         * @returns {frames.TransferRequest & frames.TransferRequest.$Shape} TransferRequest
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): frames.TransferRequest & frames.TransferRequest.$Shape;
    }

    namespace TransferRequest {

        /** Properties of a TransferRequest. */
        interface $Properties {

            /** TransferRequest group */
            group?: (number|null);

            /** TransferRequest index */
            index?: (number|null);

            /** TransferRequest from */
            from?: (number|null);

            /** TransferRequest to */
            to?: (number|null);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];
        }

        /** Shape of a TransferRequest. */
        type $Shape = frames.TransferRequest.$Properties;
    }
}
