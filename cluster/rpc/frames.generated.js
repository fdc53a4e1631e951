/*eslint-disable block-scoped-var, id-length, no-control-regex, no-magic-numbers, no-mixed-operators, no-prototype-builtins, no-redeclare, no-shadow, no-var, sort-vars, default-case, jsdoc/require-param*/
import $protobuf from "protobufjs/minimal.js";

// Common aliases
const $Reader = $protobuf.Reader, $Writer = $protobuf.Writer, $util = $protobuf.util;
const $Object = $util.global.Object, $undefined = $util.global.undefined, $Error = $util.global.Error, $RangeError = $util.global.RangeError;

// Exported root namespace
const $root = $protobuf.roots["flotilla"] || ($protobuf.roots["flotilla"] = {});

export const frames = $root.frames = (() => {

    /**
     * Namespace frames.
     * @exports frames
     * @namespace
     */
    const frames = {};

    frames.FrameHeader = (function() {

        /**
         * Properties of a FrameHeader.
         * @typedef {Object} frames.FrameHeader.$Properties
         * @property {frames.Data.$Properties|null} [data] FrameHeader data
         * @property {frames.Heartbeat.$Properties|null} [heartbeat] FrameHeader heartbeat
         * @property {frames.Hello.$Properties|null} [hello] FrameHeader hello
         * @property {frames.Proof.$Properties|null} [proof] FrameHeader proof
         * @property {frames.Welcome.$Properties|null} [welcome] FrameHeader welcome
         * @property {frames.Refusal.$Properties|null} [refusal] FrameHeader refusal
         * @property {frames.Gossip.$Properties|null} [gossip] FrameHeader gossip
         * @property {"data"|"heartbeat"|"hello"|"proof"|"welcome"|"refusal"|"gossip"} [kind] FrameHeader kind
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a FrameHeader.
         * @memberof frames
         * @interface IFrameHeader
         * @augments frames.FrameHeader.$Properties
         * @deprecated Use frames.FrameHeader.$Properties instead.
         */

        /**
         * Narrowed shape of a FrameHeader.
         * @typedef {{
         *   data?: frames.Data.$Shape|null;
         *   heartbeat?: frames.Heartbeat.$Shape|null;
         *   hello?: frames.Hello.$Shape|null;
         *   proof?: frames.Proof.$Shape|null;
         *   welcome?: frames.Welcome.$Shape|null;
         *   refusal?: frames.Refusal.$Shape|null;
         *   gossip?: frames.Gossip.$Shape|null;
         *   $unknowns?: Array.<Uint8Array>;
         * } & (
         *   ({ kind?: undefined; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "data"; data: frames.Data.$Shape; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "heartbeat"; data?: null; heartbeat: frames.Heartbeat.$Shape; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "hello"; data?: null; heartbeat?: null; hello: frames.Hello.$Shape; proof?: null; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "proof"; data?: null; heartbeat?: null; hello?: null; proof: frames.Proof.$Shape; welcome?: null; refusal?: null; gossip?: null }|{ kind?: "welcome"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome: frames.Welcome.$Shape; refusal?: null; gossip?: null }|{ kind?: "refusal"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal: frames.Refusal.$Shape; gossip?: null }|{ kind?: "gossip"; data?: null; heartbeat?: null; hello?: null; proof?: null; welcome?: null; refusal?: null; gossip: frames.Gossip.$Shape })
         * )} frames.FrameHeader.$Shape
         */

        /**
         * Constructs a new FrameHeader.
         * @memberof frames
         * @classdesc Represents a FrameHeader.
         * @constructor
         * @param {frames.FrameHeader.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const FrameHeader = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * FrameHeader data.
         * @member {frames.Data.$Properties|null|undefined} data
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.data = null;

        /**
         * FrameHeader heartbeat.
         * @member {frames.Heartbeat.$Properties|null|undefined} heartbeat
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.heartbeat = null;

        /**
         * FrameHeader hello.
         * @member {frames.Hello.$Properties|null|undefined} hello
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.hello = null;

        /**
         * FrameHeader proof.
         * @member {frames.Proof.$Properties|null|undefined} proof
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.proof = null;

        /**
         * FrameHeader welcome.
         * @member {frames.Welcome.$Properties|null|undefined} welcome
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.welcome = null;

        /**
         * FrameHeader refusal.
         * @member {frames.Refusal.$Properties|null|undefined} refusal
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.refusal = null;

        /**
         * FrameHeader gossip.
         * @member {frames.Gossip.$Properties|null|undefined} gossip
         * @memberof frames.FrameHeader
         * @instance
         */
        FrameHeader.prototype.gossip = null;

        // OneOf field names bound to virtual getters and setters
        let $oneOfFields;

        /**
         * FrameHeader kind.
         * @member {"data"|"heartbeat"|"hello"|"proof"|"welcome"|"refusal"|"gossip"|undefined} kind
         * @memberof frames.FrameHeader
         * @instance
         */
        $Object.defineProperty(FrameHeader.prototype, "kind", {
            get: $util.oneOfGetter($oneOfFields = ["data", "heartbeat", "hello", "proof", "welcome", "refusal", "gossip"]),
            set: $util.oneOfSetter($oneOfFields)
        });

        /**
         * Encodes the specified FrameHeader message. Does not implicitly {@link frames.FrameHeader.verify|verify} messages.
         * @function encode
         * @memberof frames.FrameHeader
         * @static
         * @param {frames.FrameHeader.$Properties} message FrameHeader message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        FrameHeader.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.data != null && $Object.hasOwnProperty.call(message, "data"))
                $root.frames.Data.encode(message.data, writer.uint32(/* id 1, wireType 2 =*/10).fork(), _depth + 1).ldelim();
            if (message.heartbeat != null && $Object.hasOwnProperty.call(message, "heartbeat"))
                $root.frames.Heartbeat.encode(message.heartbeat, writer.uint32(/* id 2, wireType 2 =*/18).fork(), _depth + 1).ldelim();
            if (message.hello != null && $Object.hasOwnProperty.call(message, "hello"))
                $root.frames.Hello.encode(message.hello, writer.uint32(/* id 3, wireType 2 =*/26).fork(), _depth + 1).ldelim();
            if (message.proof != null && $Object.hasOwnProperty.call(message, "proof"))
                $root.frames.Proof.encode(message.proof, writer.uint32(/* id 4, wireType 2 =*/34).fork(), _depth + 1).ldelim();
            if (message.welcome != null && $Object.hasOwnProperty.call(message, "welcome"))
                $root.frames.Welcome.encode(message.welcome, writer.uint32(/* id 5, wireType 2 =*/42).fork(), _depth + 1).ldelim();
            if (message.refusal != null && $Object.hasOwnProperty.call(message, "refusal"))
                $root.frames.Refusal.encode(message.refusal, writer.uint32(/* id 6, wireType 2 =*/50).fork(), _depth + 1).ldelim();
            if (message.gossip != null && $Object.hasOwnProperty.call(message, "gossip"))
                $root.frames.Gossip.encode(message.gossip, writer.uint32(/* id 7, wireType 2 =*/58).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a FrameHeader message from the specified reader or buffer.
         * @function decode
         * @memberof frames.FrameHeader
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.FrameHeader & frames.FrameHeader.$Shape} FrameHeader
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        FrameHeader.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.FrameHeader();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        message.data = $root.frames.Data.decode(reader, reader.size(), $undefined, _depth + 1, message.data);
                        message.kind = "data";
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        message.heartbeat = $root.frames.Heartbeat.decode(reader, reader.size(), $undefined, _depth + 1, message.heartbeat);
                        message.kind = "heartbeat";
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        message.hello = $root.frames.Hello.decode(reader, reader.size(), $undefined, _depth + 1, message.hello);
                        message.kind = "hello";
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        message.proof = $root.frames.Proof.decode(reader, reader.size(), $undefined, _depth + 1, message.proof);
                        message.kind = "proof";
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        message.welcome = $root.frames.Welcome.decode(reader, reader.size(), $undefined, _depth + 1, message.welcome);
                        message.kind = "welcome";
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        message.refusal = $root.frames.Refusal.decode(reader, reader.size(), $undefined, _depth + 1, message.refusal);
                        message.kind = "refusal";
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        message.gossip = $root.frames.Gossip.decode(reader, reader.size(), $undefined, _depth + 1, message.gossip);
                        message.kind = "gossip";
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return FrameHeader;
    })();

    frames.Data = (function() {

        /**
         * Properties of a Data.
         * @typedef {Object} frames.Data.$Properties
         * @property {Array.<number>|null} [channel] Data channel
         * @property {Array.<number>|null} [length] Data length
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Data.
         * @memberof frames
         * @interface IData
         * @augments frames.Data.$Properties
         * @deprecated Use frames.Data.$Properties instead.
         */

        /**
         * Shape of a Data.
         * @typedef {frames.Data.$Properties} frames.Data.$Shape
         */

        /**
         * Constructs a new Data.
         * @memberof frames
         * @classdesc Represents a Data.
         * @constructor
         * @param {frames.Data.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Data = function (properties) {
            this.channel = [];
            this.length = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Data channel.
         * @member {Array.<number>} channel
         * @memberof frames.Data
         * @instance
         */
        Data.prototype.channel = $util.emptyArray;

        /**
         * Data length.
         * @member {Array.<number>} length
         * @memberof frames.Data
         * @instance
         */
        Data.prototype.length = $util.emptyArray;

        /**
         * Encodes the specified Data message. Does not implicitly {@link frames.Data.verify|verify} messages.
         * @function encode
         * @memberof frames.Data
         * @static
         * @param {frames.Data.$Properties} message Data message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Data.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.channel != null && message.channel.length)
                writer.uint32(/* id 1, wireType 2 =*/10).uint32s(message.channel);
            if (message.length != null && message.length.length)
                writer.uint32(/* id 2, wireType 2 =*/18).uint32s(message.length);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Data message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Data
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Data & frames.Data.$Shape} Data
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Data.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Data();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.channel && message.channel.length))
                                message.channel = [];
                            reader.uint32s(message.channel);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.channel && message.channel.length))
                            message.channel = [];
                        message.channel.push(reader.uint32());
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.length && message.length.length))
                                message.length = [];
                            reader.uint32s(message.length);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.length && message.length.length))
                            message.length = [];
                        message.length.push(reader.uint32());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Data;
    })();

    frames.Heartbeat = (function() {

        /**
         * Properties of a Heartbeat.
         * @typedef {Object} frames.Heartbeat.$Properties
         * @property {number|null} [bootId] Heartbeat bootId
         * @property {number|null} [wallUs] Heartbeat wallUs
         * @property {number|null} [durable] Heartbeat durable
         * @property {number|null} [durableSeen] Heartbeat durableSeen
         * @property {number|null} [clusterUs] Heartbeat clusterUs
         * @property {number|null} [seenBootId] Heartbeat seenBootId
         * @property {number|null} [seenBefore] Heartbeat seenBefore
         * @property {boolean|null} [diskLow] Heartbeat diskLow
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Heartbeat.
         * @memberof frames
         * @interface IHeartbeat
         * @augments frames.Heartbeat.$Properties
         * @deprecated Use frames.Heartbeat.$Properties instead.
         */

        /**
         * Shape of a Heartbeat.
         * @typedef {frames.Heartbeat.$Properties} frames.Heartbeat.$Shape
         */

        /**
         * Constructs a new Heartbeat.
         * @memberof frames
         * @classdesc Represents a Heartbeat.
         * @constructor
         * @param {frames.Heartbeat.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Heartbeat = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Heartbeat bootId.
         * @member {number} bootId
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.bootId = 0;

        /**
         * Heartbeat wallUs.
         * @member {number} wallUs
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.wallUs = 0;

        /**
         * Heartbeat durable.
         * @member {number} durable
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.durable = 0;

        /**
         * Heartbeat durableSeen.
         * @member {number} durableSeen
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.durableSeen = 0;

        /**
         * Heartbeat clusterUs.
         * @member {number} clusterUs
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.clusterUs = 0;

        /**
         * Heartbeat seenBootId.
         * @member {number} seenBootId
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.seenBootId = 0;

        /**
         * Heartbeat seenBefore.
         * @member {number} seenBefore
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.seenBefore = 0;

        /**
         * Heartbeat diskLow.
         * @member {boolean} diskLow
         * @memberof frames.Heartbeat
         * @instance
         */
        Heartbeat.prototype.diskLow = false;

        /**
         * Encodes the specified Heartbeat message. Does not implicitly {@link frames.Heartbeat.verify|verify} messages.
         * @function encode
         * @memberof frames.Heartbeat
         * @static
         * @param {frames.Heartbeat.$Properties} message Heartbeat message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Heartbeat.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.bootId != null && $Object.hasOwnProperty.call(message, "bootId") && !$Object.is(message.bootId, 0))
                writer.uint32(/* id 1, wireType 1 =*/9).double(message.bootId);
            if (message.wallUs != null && $Object.hasOwnProperty.call(message, "wallUs") && !$Object.is(message.wallUs, 0))
                writer.uint32(/* id 2, wireType 1 =*/17).double(message.wallUs);
            if (message.durable != null && $Object.hasOwnProperty.call(message, "durable") && !$Object.is(message.durable, 0))
                writer.uint32(/* id 3, wireType 1 =*/25).double(message.durable);
            if (message.durableSeen != null && $Object.hasOwnProperty.call(message, "durableSeen") && !$Object.is(message.durableSeen, 0))
                writer.uint32(/* id 4, wireType 1 =*/33).double(message.durableSeen);
            if (message.clusterUs != null && $Object.hasOwnProperty.call(message, "clusterUs") && !$Object.is(message.clusterUs, 0))
                writer.uint32(/* id 5, wireType 1 =*/41).double(message.clusterUs);
            if (message.seenBootId != null && $Object.hasOwnProperty.call(message, "seenBootId") && !$Object.is(message.seenBootId, 0))
                writer.uint32(/* id 6, wireType 1 =*/49).double(message.seenBootId);
            if (message.seenBefore != null && $Object.hasOwnProperty.call(message, "seenBefore") && !$Object.is(message.seenBefore, 0))
                writer.uint32(/* id 7, wireType 1 =*/57).double(message.seenBefore);
            if (message.diskLow != null && $Object.hasOwnProperty.call(message, "diskLow") && message.diskLow !== false)
                writer.uint32(/* id 8, wireType 0 =*/64).bool(message.diskLow);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Heartbeat message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Heartbeat
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Heartbeat & frames.Heartbeat.$Shape} Heartbeat
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Heartbeat.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Heartbeat();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.bootId = value;
                        else
                            delete message.bootId;
                        continue;
                    }
                case 2: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.wallUs = value;
                        else
                            delete message.wallUs;
                        continue;
                    }
                case 3: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.durable = value;
                        else
                            delete message.durable;
                        continue;
                    }
                case 4: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.durableSeen = value;
                        else
                            delete message.durableSeen;
                        continue;
                    }
                case 5: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.clusterUs = value;
                        else
                            delete message.clusterUs;
                        continue;
                    }
                case 6: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.seenBootId = value;
                        else
                            delete message.seenBootId;
                        continue;
                    }
                case 7: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.seenBefore = value;
                        else
                            delete message.seenBefore;
                        continue;
                    }
                case 8: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.diskLow = value;
                        else
                            delete message.diskLow;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Heartbeat;
    })();

    frames.Hello = (function() {

        /**
         * Properties of a Hello.
         * @typedef {Object} frames.Hello.$Properties
         * @property {number|null} [format] Hello format
         * @property {string|null} [clusterName] Hello clusterName
         * @property {string|null} [clusterId] Hello clusterId
         * @property {number|null} [id] Hello id
         * @property {number|null} [bootId] Hello bootId
         * @property {string|null} [name] Hello name
         * @property {string|null} [clientUrl] Hello clientUrl
         * @property {string|null} [clusterUrl] Hello clusterUrl
         * @property {string|null} [monitorUrl] Hello monitorUrl
         * @property {Uint8Array|null} [nonce] Hello nonce
         * @property {boolean|null} [bulk] Hello bulk
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Hello.
         * @memberof frames
         * @interface IHello
         * @augments frames.Hello.$Properties
         * @deprecated Use frames.Hello.$Properties instead.
         */

        /**
         * Shape of a Hello.
         * @typedef {frames.Hello.$Properties} frames.Hello.$Shape
         */

        /**
         * Constructs a new Hello.
         * @memberof frames
         * @classdesc Represents a Hello.
         * @constructor
         * @param {frames.Hello.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Hello = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Hello format.
         * @member {number} format
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.format = 0;

        /**
         * Hello clusterName.
         * @member {string} clusterName
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.clusterName = "";

        /**
         * Hello clusterId.
         * @member {string} clusterId
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.clusterId = "";

        /**
         * Hello id.
         * @member {number} id
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.id = 0;

        /**
         * Hello bootId.
         * @member {number} bootId
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.bootId = 0;

        /**
         * Hello name.
         * @member {string} name
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.name = "";

        /**
         * Hello clientUrl.
         * @member {string} clientUrl
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.clientUrl = "";

        /**
         * Hello clusterUrl.
         * @member {string} clusterUrl
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.clusterUrl = "";

        /**
         * Hello monitorUrl.
         * @member {string} monitorUrl
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.monitorUrl = "";

        /**
         * Hello nonce.
         * @member {Uint8Array} nonce
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.nonce = $util.newBuffer([]);

        /**
         * Hello bulk.
         * @member {boolean} bulk
         * @memberof frames.Hello
         * @instance
         */
        Hello.prototype.bulk = false;

        /**
         * Encodes the specified Hello message. Does not implicitly {@link frames.Hello.verify|verify} messages.
         * @function encode
         * @memberof frames.Hello
         * @static
         * @param {frames.Hello.$Properties} message Hello message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Hello.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.format != null && $Object.hasOwnProperty.call(message, "format") && message.format !== 0)
                writer.uint32(/* id 1, wireType 0 =*/8).uint32(message.format);
            if (message.clusterName != null && $Object.hasOwnProperty.call(message, "clusterName") && message.clusterName !== "")
                writer.uint32(/* id 2, wireType 2 =*/18).string(message.clusterName);
            if (message.clusterId != null && $Object.hasOwnProperty.call(message, "clusterId") && message.clusterId !== "")
                writer.uint32(/* id 3, wireType 2 =*/26).string(message.clusterId);
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && !$Object.is(message.id, 0))
                writer.uint32(/* id 4, wireType 1 =*/33).double(message.id);
            if (message.bootId != null && $Object.hasOwnProperty.call(message, "bootId") && !$Object.is(message.bootId, 0))
                writer.uint32(/* id 5, wireType 1 =*/41).double(message.bootId);
            if (message.name != null && $Object.hasOwnProperty.call(message, "name") && message.name !== "")
                writer.uint32(/* id 6, wireType 2 =*/50).string(message.name);
            if (message.clientUrl != null && $Object.hasOwnProperty.call(message, "clientUrl") && message.clientUrl !== "")
                writer.uint32(/* id 7, wireType 2 =*/58).string(message.clientUrl);
            if (message.clusterUrl != null && $Object.hasOwnProperty.call(message, "clusterUrl") && message.clusterUrl !== "")
                writer.uint32(/* id 8, wireType 2 =*/66).string(message.clusterUrl);
            if (message.monitorUrl != null && $Object.hasOwnProperty.call(message, "monitorUrl") && message.monitorUrl !== "")
                writer.uint32(/* id 9, wireType 2 =*/74).string(message.monitorUrl);
            if (message.nonce != null && $Object.hasOwnProperty.call(message, "nonce") && message.nonce.length)
                writer.uint32(/* id 10, wireType 2 =*/82).bytes(message.nonce);
            if (message.bulk != null && $Object.hasOwnProperty.call(message, "bulk") && message.bulk !== false)
                writer.uint32(/* id 11, wireType 0 =*/88).bool(message.bulk);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Hello message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Hello
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Hello & frames.Hello.$Shape} Hello
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Hello.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Hello();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.format = value;
                        else
                            delete message.format;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.clusterName = value;
                        else
                            delete message.clusterName;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.clusterId = value;
                        else
                            delete message.clusterId;
                        continue;
                    }
                case 4: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 5: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.bootId = value;
                        else
                            delete message.bootId;
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.name = value;
                        else
                            delete message.name;
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.clientUrl = value;
                        else
                            delete message.clientUrl;
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.clusterUrl = value;
                        else
                            delete message.clusterUrl;
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.monitorUrl = value;
                        else
                            delete message.monitorUrl;
                        continue;
                    }
                case 10: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.nonce = value;
                        else
                            delete message.nonce;
                        continue;
                    }
                case 11: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.bulk = value;
                        else
                            delete message.bulk;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Hello;
    })();

    frames.Proof = (function() {

        /**
         * Properties of a Proof.
         * @typedef {Object} frames.Proof.$Properties
         * @property {Uint8Array|null} [mac] Proof mac
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Proof.
         * @memberof frames
         * @interface IProof
         * @augments frames.Proof.$Properties
         * @deprecated Use frames.Proof.$Properties instead.
         */

        /**
         * Shape of a Proof.
         * @typedef {frames.Proof.$Properties} frames.Proof.$Shape
         */

        /**
         * Constructs a new Proof.
         * @memberof frames
         * @classdesc Represents a Proof.
         * @constructor
         * @param {frames.Proof.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Proof = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Proof mac.
         * @member {Uint8Array} mac
         * @memberof frames.Proof
         * @instance
         */
        Proof.prototype.mac = $util.newBuffer([]);

        /**
         * Encodes the specified Proof message. Does not implicitly {@link frames.Proof.verify|verify} messages.
         * @function encode
         * @memberof frames.Proof
         * @static
         * @param {frames.Proof.$Properties} message Proof message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Proof.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.mac != null && $Object.hasOwnProperty.call(message, "mac") && message.mac.length)
                writer.uint32(/* id 1, wireType 2 =*/10).bytes(message.mac);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Proof message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Proof
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Proof & frames.Proof.$Shape} Proof
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Proof.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Proof();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.mac = value;
                        else
                            delete message.mac;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Proof;
    })();

    frames.Welcome = (function() {

        /**
         * Properties of a Welcome.
         * @typedef {Object} frames.Welcome.$Properties
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Welcome.
         * @memberof frames
         * @interface IWelcome
         * @augments frames.Welcome.$Properties
         * @deprecated Use frames.Welcome.$Properties instead.
         */

        /**
         * Shape of a Welcome.
         * @typedef {frames.Welcome.$Properties} frames.Welcome.$Shape
         */

        /**
         * Constructs a new Welcome.
         * @memberof frames
         * @classdesc Represents a Welcome.
         * @constructor
         * @param {frames.Welcome.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Welcome = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Encodes the specified Welcome message. Does not implicitly {@link frames.Welcome.verify|verify} messages.
         * @function encode
         * @memberof frames.Welcome
         * @static
         * @param {frames.Welcome.$Properties} message Welcome message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Welcome.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Welcome message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Welcome
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Welcome & frames.Welcome.$Shape} Welcome
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Welcome.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Welcome();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                reader.skipType(tag & 7, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Welcome;
    })();

    frames.Refusal = (function() {

        /**
         * Properties of a Refusal.
         * @typedef {Object} frames.Refusal.$Properties
         * @property {string|null} [reason] Refusal reason
         * @property {boolean|null} [duplicate] Refusal duplicate
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Refusal.
         * @memberof frames
         * @interface IRefusal
         * @augments frames.Refusal.$Properties
         * @deprecated Use frames.Refusal.$Properties instead.
         */

        /**
         * Shape of a Refusal.
         * @typedef {frames.Refusal.$Properties} frames.Refusal.$Shape
         */

        /**
         * Constructs a new Refusal.
         * @memberof frames
         * @classdesc Represents a Refusal.
         * @constructor
         * @param {frames.Refusal.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Refusal = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Refusal reason.
         * @member {string} reason
         * @memberof frames.Refusal
         * @instance
         */
        Refusal.prototype.reason = "";

        /**
         * Refusal duplicate.
         * @member {boolean} duplicate
         * @memberof frames.Refusal
         * @instance
         */
        Refusal.prototype.duplicate = false;

        /**
         * Encodes the specified Refusal message. Does not implicitly {@link frames.Refusal.verify|verify} messages.
         * @function encode
         * @memberof frames.Refusal
         * @static
         * @param {frames.Refusal.$Properties} message Refusal message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Refusal.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.reason != null && $Object.hasOwnProperty.call(message, "reason") && message.reason !== "")
                writer.uint32(/* id 1, wireType 2 =*/10).string(message.reason);
            if (message.duplicate != null && $Object.hasOwnProperty.call(message, "duplicate") && message.duplicate !== false)
                writer.uint32(/* id 2, wireType 0 =*/16).bool(message.duplicate);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Refusal message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Refusal
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Refusal & frames.Refusal.$Shape} Refusal
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Refusal.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Refusal();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.reason = value;
                        else
                            delete message.reason;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.duplicate = value;
                        else
                            delete message.duplicate;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Refusal;
    })();

    frames.Gossip = (function() {

        /**
         * Properties of a Gossip.
         * @typedef {Object} frames.Gossip.$Properties
         * @property {Array.<number>|null} [id] Gossip id
         * @property {Array.<string>|null} [clusterUrl] Gossip clusterUrl
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a Gossip.
         * @memberof frames
         * @interface IGossip
         * @augments frames.Gossip.$Properties
         * @deprecated Use frames.Gossip.$Properties instead.
         */

        /**
         * Shape of a Gossip.
         * @typedef {frames.Gossip.$Properties} frames.Gossip.$Shape
         */

        /**
         * Constructs a new Gossip.
         * @memberof frames
         * @classdesc Represents a Gossip.
         * @constructor
         * @param {frames.Gossip.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const Gossip = function (properties) {
            this.id = [];
            this.clusterUrl = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * Gossip id.
         * @member {Array.<number>} id
         * @memberof frames.Gossip
         * @instance
         */
        Gossip.prototype.id = $util.emptyArray;

        /**
         * Gossip clusterUrl.
         * @member {Array.<string>} clusterUrl
         * @memberof frames.Gossip
         * @instance
         */
        Gossip.prototype.clusterUrl = $util.emptyArray;

        /**
         * Encodes the specified Gossip message. Does not implicitly {@link frames.Gossip.verify|verify} messages.
         * @function encode
         * @memberof frames.Gossip
         * @static
         * @param {frames.Gossip.$Properties} message Gossip message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        Gossip.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && message.id.length)
                writer.uint32(/* id 1, wireType 2 =*/10).doubles(message.id);
            if (message.clusterUrl != null && message.clusterUrl.length)
                for (let i = 0; i < message.clusterUrl.length; ++i)
                    writer.uint32(/* id 2, wireType 2 =*/18).string(message.clusterUrl[i]);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a Gossip message from the specified reader or buffer.
         * @function decode
         * @memberof frames.Gossip
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.Gossip & frames.Gossip.$Shape} Gossip
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        Gossip.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.Gossip();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.id && message.id.length))
                                message.id = [];
                            reader.doubles(message.id);
                            continue;
                        }
                        if (wireType !== 1)
                            break;
                        if (!(message.id && message.id.length))
                            message.id = [];
                        message.id.push(reader.double());
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if (!(message.clusterUrl && message.clusterUrl.length))
                            message.clusterUrl = [];
                        message.clusterUrl.push(reader.stringVerify());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Gossip;
    })();

    frames.RpcHeader = (function() {

        /**
         * Properties of a RpcHeader.
         * @typedef {Object} frames.RpcHeader.$Properties
         * @property {number|null} [id] RpcHeader id
         * @property {string|null} [method] RpcHeader method
         * @property {boolean|null} [refused] RpcHeader refused
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a RpcHeader.
         * @memberof frames
         * @interface IRpcHeader
         * @augments frames.RpcHeader.$Properties
         * @deprecated Use frames.RpcHeader.$Properties instead.
         */

        /**
         * Shape of a RpcHeader.
         * @typedef {frames.RpcHeader.$Properties} frames.RpcHeader.$Shape
         */

        /**
         * Constructs a new RpcHeader.
         * @memberof frames
         * @classdesc Represents a RpcHeader.
         * @constructor
         * @param {frames.RpcHeader.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const RpcHeader = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * RpcHeader id.
         * @member {number} id
         * @memberof frames.RpcHeader
         * @instance
         */
        RpcHeader.prototype.id = 0;

        /**
         * RpcHeader method.
         * @member {string} method
         * @memberof frames.RpcHeader
         * @instance
         */
        RpcHeader.prototype.method = "";

        /**
         * RpcHeader refused.
         * @member {boolean} refused
         * @memberof frames.RpcHeader
         * @instance
         */
        RpcHeader.prototype.refused = false;

        /**
         * Encodes the specified RpcHeader message. Does not implicitly {@link frames.RpcHeader.verify|verify} messages.
         * @function encode
         * @memberof frames.RpcHeader
         * @static
         * @param {frames.RpcHeader.$Properties} message RpcHeader message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        RpcHeader.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && !$Object.is(message.id, 0))
                writer.uint32(/* id 1, wireType 1 =*/9).double(message.id);
            if (message.method != null && $Object.hasOwnProperty.call(message, "method") && message.method !== "")
                writer.uint32(/* id 2, wireType 2 =*/18).string(message.method);
            if (message.refused != null && $Object.hasOwnProperty.call(message, "refused") && message.refused !== false)
                writer.uint32(/* id 3, wireType 0 =*/24).bool(message.refused);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a RpcHeader message from the specified reader or buffer.
         * @function decode
         * @memberof frames.RpcHeader
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.RpcHeader & frames.RpcHeader.$Shape} RpcHeader
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        RpcHeader.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.RpcHeader();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.method = value;
                        else
                            delete message.method;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.refused = value;
                        else
                            delete message.refused;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return RpcHeader;
    })();

    frames.EntryBatch = (function() {

        /**
         * Properties of an EntryBatch.
         * @typedef {Object} frames.EntryBatch.$Properties
         * @property {Array.<number>|null} [index] EntryBatch index
         * @property {Array.<number>|null} [term] EntryBatch term
         * @property {Array.<number>|null} [kind] EntryBatch kind
         * @property {Array.<number>|null} [bodyCrc] EntryBatch bodyCrc
         * @property {Array.<number>|null} [bodyLength] EntryBatch bodyLength
         * @property {number|null} [next] EntryBatch next
         * @property {number|null} [commit] EntryBatch commit
         * @property {boolean|null} [gone] EntryBatch gone
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of an EntryBatch.
         * @memberof frames
         * @interface IEntryBatch
         * @augments frames.EntryBatch.$Properties
         * @deprecated Use frames.EntryBatch.$Properties instead.
         */

        /**
         * Shape of an EntryBatch.
         * @typedef {frames.EntryBatch.$Properties} frames.EntryBatch.$Shape
         */

        /**
         * Constructs a new EntryBatch.
         * @memberof frames
         * @classdesc Represents an EntryBatch.
         * @constructor
         * @param {frames.EntryBatch.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const EntryBatch = function (properties) {
            this.index = [];
            this.term = [];
            this.kind = [];
            this.bodyCrc = [];
            this.bodyLength = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * EntryBatch index.
         * @member {Array.<number>} index
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.index = $util.emptyArray;

        /**
         * EntryBatch term.
         * @member {Array.<number>} term
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.term = $util.emptyArray;

        /**
         * EntryBatch kind.
         * @member {Array.<number>} kind
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.kind = $util.emptyArray;

        /**
         * EntryBatch bodyCrc.
         * @member {Array.<number>} bodyCrc
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.bodyCrc = $util.emptyArray;

        /**
         * EntryBatch bodyLength.
         * @member {Array.<number>} bodyLength
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.bodyLength = $util.emptyArray;

        /**
         * EntryBatch next.
         * @member {number} next
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.next = 0;

        /**
         * EntryBatch commit.
         * @member {number} commit
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.commit = 0;

        /**
         * EntryBatch gone.
         * @member {boolean} gone
         * @memberof frames.EntryBatch
         * @instance
         */
        EntryBatch.prototype.gone = false;

        /**
         * Encodes the specified EntryBatch message. Does not implicitly {@link frames.EntryBatch.verify|verify} messages.
         * @function encode
         * @memberof frames.EntryBatch
         * @static
         * @param {frames.EntryBatch.$Properties} message EntryBatch message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        EntryBatch.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.index != null && message.index.length)
                writer.uint32(/* id 1, wireType 2 =*/10).doubles(message.index);
            if (message.term != null && message.term.length)
                writer.uint32(/* id 2, wireType 2 =*/18).doubles(message.term);
            if (message.kind != null && message.kind.length)
                writer.uint32(/* id 3, wireType 2 =*/26).uint32s(message.kind);
            if (message.bodyCrc != null && message.bodyCrc.length)
                writer.uint32(/* id 4, wireType 2 =*/34).fixed32s(message.bodyCrc);
            if (message.bodyLength != null && message.bodyLength.length)
                writer.uint32(/* id 5, wireType 2 =*/42).uint32s(message.bodyLength);
            if (message.next != null && $Object.hasOwnProperty.call(message, "next") && !$Object.is(message.next, 0))
                writer.uint32(/* id 6, wireType 1 =*/49).double(message.next);
            if (message.commit != null && $Object.hasOwnProperty.call(message, "commit") && !$Object.is(message.commit, 0))
                writer.uint32(/* id 7, wireType 1 =*/57).double(message.commit);
            if (message.gone != null && $Object.hasOwnProperty.call(message, "gone") && message.gone !== false)
                writer.uint32(/* id 8, wireType 0 =*/64).bool(message.gone);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes an EntryBatch message from the specified reader or buffer.
         * @function decode
         * @memberof frames.EntryBatch
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.EntryBatch & frames.EntryBatch.$Shape} EntryBatch
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        EntryBatch.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.EntryBatch();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.index && message.index.length))
                                message.index = [];
                            reader.doubles(message.index);
                            continue;
                        }
                        if (wireType !== 1)
                            break;
                        if (!(message.index && message.index.length))
                            message.index = [];
                        message.index.push(reader.double());
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.term && message.term.length))
                                message.term = [];
                            reader.doubles(message.term);
                            continue;
                        }
                        if (wireType !== 1)
                            break;
                        if (!(message.term && message.term.length))
                            message.term = [];
                        message.term.push(reader.double());
                        continue;
                    }
                case 3: {
                        if (wireType === 2) {
                            if (!(message.kind && message.kind.length))
                                message.kind = [];
                            reader.uint32s(message.kind);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.kind && message.kind.length))
                            message.kind = [];
                        message.kind.push(reader.uint32());
                        continue;
                    }
                case 4: {
                        if (wireType === 2) {
                            if (!(message.bodyCrc && message.bodyCrc.length))
                                message.bodyCrc = [];
                            reader.fixed32s(message.bodyCrc);
                            continue;
                        }
                        if (wireType !== 5)
                            break;
                        if (!(message.bodyCrc && message.bodyCrc.length))
                            message.bodyCrc = [];
                        message.bodyCrc.push(reader.fixed32());
                        continue;
                    }
                case 5: {
                        if (wireType === 2) {
                            if (!(message.bodyLength && message.bodyLength.length))
                                message.bodyLength = [];
                            reader.uint32s(message.bodyLength);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.bodyLength && message.bodyLength.length))
                            message.bodyLength = [];
                        message.bodyLength.push(reader.uint32());
                        continue;
                    }
                case 6: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.next = value;
                        else
                            delete message.next;
                        continue;
                    }
                case 7: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.commit = value;
                        else
                            delete message.commit;
                        continue;
                    }
                case 8: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.gone = value;
                        else
                            delete message.gone;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return EntryBatch;
    })();

    frames.SnapshotOffer = (function() {

        /**
         * Properties of a SnapshotOffer.
         * @typedef {Object} frames.SnapshotOffer.$Properties
         * @property {number|null} [group] SnapshotOffer group
         * @property {number|null} [index] SnapshotOffer index
         * @property {number|null} [term] SnapshotOffer term
         * @property {Uint8Array|null} [membership] SnapshotOffer membership
         * @property {number|null} [stateBytes] SnapshotOffer stateBytes
         * @property {number|null} [stateCrc] SnapshotOffer stateCrc
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a SnapshotOffer.
         * @memberof frames
         * @interface ISnapshotOffer
         * @augments frames.SnapshotOffer.$Properties
         * @deprecated Use frames.SnapshotOffer.$Properties instead.
         */

        /**
         * Shape of a SnapshotOffer.
         * @typedef {frames.SnapshotOffer.$Properties} frames.SnapshotOffer.$Shape
         */

        /**
         * Constructs a new SnapshotOffer.
         * @memberof frames
         * @classdesc Represents a SnapshotOffer.
         * @constructor
         * @param {frames.SnapshotOffer.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const SnapshotOffer = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * SnapshotOffer group.
         * @member {number} group
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.group = 0;

        /**
         * SnapshotOffer index.
         * @member {number} index
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.index = 0;

        /**
         * SnapshotOffer term.
         * @member {number} term
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.term = 0;

        /**
         * SnapshotOffer membership.
         * @member {Uint8Array} membership
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.membership = $util.newBuffer([]);

        /**
         * SnapshotOffer stateBytes.
         * @member {number} stateBytes
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.stateBytes = 0;

        /**
         * SnapshotOffer stateCrc.
         * @member {number} stateCrc
         * @memberof frames.SnapshotOffer
         * @instance
         */
        SnapshotOffer.prototype.stateCrc = 0;

        /**
         * Encodes the specified SnapshotOffer message. Does not implicitly {@link frames.SnapshotOffer.verify|verify} messages.
         * @function encode
         * @memberof frames.SnapshotOffer
         * @static
         * @param {frames.SnapshotOffer.$Properties} message SnapshotOffer message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        SnapshotOffer.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.group != null && $Object.hasOwnProperty.call(message, "group") && !$Object.is(message.group, 0))
                writer.uint32(/* id 1, wireType 1 =*/9).double(message.group);
            if (message.index != null && $Object.hasOwnProperty.call(message, "index") && !$Object.is(message.index, 0))
                writer.uint32(/* id 2, wireType 1 =*/17).double(message.index);
            if (message.term != null && $Object.hasOwnProperty.call(message, "term") && !$Object.is(message.term, 0))
                writer.uint32(/* id 3, wireType 1 =*/25).double(message.term);
            if (message.membership != null && $Object.hasOwnProperty.call(message, "membership") && message.membership.length)
                writer.uint32(/* id 4, wireType 2 =*/34).bytes(message.membership);
            if (message.stateBytes != null && $Object.hasOwnProperty.call(message, "stateBytes") && message.stateBytes !== 0)
                writer.uint32(/* id 5, wireType 0 =*/40).uint32(message.stateBytes);
            if (message.stateCrc != null && $Object.hasOwnProperty.call(message, "stateCrc") && message.stateCrc !== 0)
                writer.uint32(/* id 6, wireType 5 =*/53).fixed32(message.stateCrc);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a SnapshotOffer message from the specified reader or buffer.
         * @function decode
         * @memberof frames.SnapshotOffer
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.SnapshotOffer & frames.SnapshotOffer.$Shape} SnapshotOffer
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        SnapshotOffer.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.SnapshotOffer();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.group = value;
                        else
                            delete message.group;
                        continue;
                    }
                case 2: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.index = value;
                        else
                            delete message.index;
                        continue;
                    }
                case 3: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.term = value;
                        else
                            delete message.term;
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.membership = value;
                        else
                            delete message.membership;
                        continue;
                    }
                case 5: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.stateBytes = value;
                        else
                            delete message.stateBytes;
                        continue;
                    }
                case 6: {
                        if (wireType !== 5)
                            break;
                        if (value = reader.fixed32())
                            message.stateCrc = value;
                        else
                            delete message.stateCrc;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return SnapshotOffer;
    })();

    frames.SnapshotAnswer = (function() {

        /**
         * Properties of a SnapshotAnswer.
         * @typedef {Object} frames.SnapshotAnswer.$Properties
         * @property {number|null} [outcome] SnapshotAnswer outcome
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a SnapshotAnswer.
         * @memberof frames
         * @interface ISnapshotAnswer
         * @augments frames.SnapshotAnswer.$Properties
         * @deprecated Use frames.SnapshotAnswer.$Properties instead.
         */

        /**
         * Shape of a SnapshotAnswer.
         * @typedef {frames.SnapshotAnswer.$Properties} frames.SnapshotAnswer.$Shape
         */

        /**
         * Constructs a new SnapshotAnswer.
         * @memberof frames
         * @classdesc Represents a SnapshotAnswer.
         * @constructor
         * @param {frames.SnapshotAnswer.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const SnapshotAnswer = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * SnapshotAnswer outcome.
         * @member {number} outcome
         * @memberof frames.SnapshotAnswer
         * @instance
         */
        SnapshotAnswer.prototype.outcome = 0;

        /**
         * Encodes the specified SnapshotAnswer message. Does not implicitly {@link frames.SnapshotAnswer.verify|verify} messages.
         * @function encode
         * @memberof frames.SnapshotAnswer
         * @static
         * @param {frames.SnapshotAnswer.$Properties} message SnapshotAnswer message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        SnapshotAnswer.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.outcome != null && $Object.hasOwnProperty.call(message, "outcome") && message.outcome !== 0)
                writer.uint32(/* id 1, wireType 0 =*/8).uint32(message.outcome);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a SnapshotAnswer message from the specified reader or buffer.
         * @function decode
         * @memberof frames.SnapshotAnswer
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.SnapshotAnswer & frames.SnapshotAnswer.$Shape} SnapshotAnswer
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        SnapshotAnswer.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.SnapshotAnswer();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.outcome = value;
                        else
                            delete message.outcome;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return SnapshotAnswer;
    })();

    frames.TransferRequest = (function() {

        /**
         * Properties of a TransferRequest.
         * @typedef {Object} frames.TransferRequest.$Properties
         * @property {number|null} [group] TransferRequest group
         * @property {number|null} [index] TransferRequest index
         * @property {number|null} [from] TransferRequest from
         * @property {number|null} [to] TransferRequest to
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */

        /**
         * Properties of a TransferRequest.
         * @memberof frames
         * @interface ITransferRequest
         * @augments frames.TransferRequest.$Properties
         * @deprecated Use frames.TransferRequest.$Properties instead.
         */

        /**
         * Shape of a TransferRequest.
         * @typedef {frames.TransferRequest.$Properties} frames.TransferRequest.$Shape
         */

        /**
         * Constructs a new TransferRequest.
         * @memberof frames
         * @classdesc Represents a TransferRequest.
         * @constructor
         * @param {frames.TransferRequest.$Properties=} [properties] Properties to set
         * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
         */
        const TransferRequest = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        /**
         * TransferRequest group.
         * @member {number} group
         * @memberof frames.TransferRequest
         * @instance
         */
        TransferRequest.prototype.group = 0;

        /**
         * TransferRequest index.
         * @member {number} index
         * @memberof frames.TransferRequest
         * @instance
         */
        TransferRequest.prototype.index = 0;

        /**
         * TransferRequest from.
         * @member {number} from
         * @memberof frames.TransferRequest
         * @instance
         */
        TransferRequest.prototype.from = 0;

        /**
         * TransferRequest to.
         * @member {number} to
         * @memberof frames.TransferRequest
         * @instance
         */
        TransferRequest.prototype.to = 0;

        /**
         * Encodes the specified TransferRequest message. Does not implicitly {@link frames.TransferRequest.verify|verify} messages.
         * @function encode
         * @memberof frames.TransferRequest
         * @static
         * @param {frames.TransferRequest.$Properties} message TransferRequest message or plain object to encode
         * @param {$protobuf.Writer} [writer] Writer to encode to
         * @returns {$protobuf.Writer} Writer
         */
        TransferRequest.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.group != null && $Object.hasOwnProperty.call(message, "group") && !$Object.is(message.group, 0))
                writer.uint32(/* id 1, wireType 1 =*/9).double(message.group);
            if (message.index != null && $Object.hasOwnProperty.call(message, "index") && !$Object.is(message.index, 0))
                writer.uint32(/* id 2, wireType 1 =*/17).double(message.index);
            if (message.from != null && $Object.hasOwnProperty.call(message, "from") && !$Object.is(message.from, 0))
                writer.uint32(/* id 3, wireType 1 =*/25).double(message.from);
            if (message.to != null && $Object.hasOwnProperty.call(message, "to") && !$Object.is(message.to, 0))
                writer.uint32(/* id 4, wireType 1 =*/33).double(message.to);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        /**
         * Decodes a TransferRequest message from the specified reader or buffer.
         * @function decode
         * @memberof frames.TransferRequest
         * @static
         * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
         * @param {number} [length] Message length if known beforehand
         * @returns {frames.TransferRequest & frames.TransferRequest.$Shape} TransferRequest
         * @throws {Error} If the payload is not a reader or valid buffer
         * @throws {$protobuf.util.ProtocolError} If required fields are missing
         */
        TransferRequest.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.frames.TransferRequest();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.group = value;
                        else
                            delete message.group;
                        continue;
                    }
                case 2: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.index = value;
                        else
                            delete message.index;
                        continue;
                    }
                case 3: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.from = value;
                        else
                            delete message.from;
                        continue;
                    }
                case 4: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.to = value;
                        else
                            delete message.to;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return TransferRequest;
    })();

    return frames;
})();

export {
  $root as default
};
