"""Writes tests/fuzz/corpus: malformed files, one mistake each. Every one must be refused. Run from the repository's root."""
import gzip, io, json, pathlib, pickle, shutil, struct, zipfile, zlib

root = pathlib.Path("tests/fuzz/corpus")
for folder in ("safetensors", "pickle", "torch_file", "splat_file", "spz", "mat_file"):  # the other folders' files are written by hand
    shutil.rmtree(root / folder, ignore_errors=True)


def put(folder, name, data):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / name).write_bytes(data)


# ---- safetensors ----
def st(header, data=b"\0" * 8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


put("safetensors", "empty", b"")
put("safetensors", "header_beyond_file", st({"a": entry()}, length=1 << 40))
put("safetensors", "header_truncated", st({"a": entry()})[:20])
put("safetensors", "data_truncated", st({"a": entry()}, b"\0" * 5))
put("safetensors", "overlap", st({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12))
put("safetensors", "same_bytes_twice", st({"a": entry(), "b": entry()}))
put("safetensors", "hole", st({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20))
put("safetensors", "huge_shape", st({"a": entry(shape=(1 << 62, 1 << 62))}))
put("safetensors", "shape_times_size_wraps", st({"a": entry(dtype="F64", shape=(1 << 61, 1), offsets=(0, 8))}))
put("safetensors", "negative_axis", st({"a": entry(shape=(-2,))}))
put("safetensors", "seven_axes", st({"a": entry(shape=(1, 1, 1, 1, 1, 1, 2))}))
put("safetensors", "reversed_offsets", st({"a": entry(offsets=(8, 0))}))
put("safetensors", "huge_offsets", st({"a": entry(offsets=((1 << 64) - 8, (1 << 64) - 1))}))
put("safetensors", "real_offsets", st({"a": entry(offsets=(0.0, 8.0))}))
put("safetensors", "unknown_dtype", st({"a": entry(dtype="C128")}))
put("safetensors", "not_json", st(b"\xff\xfe{]"))
put("safetensors", "deep_json", st(b"[" * 50000))
put("safetensors", "entry_is_a_list", st({"a": [1, 2]}))
put("safetensors", "empty_axis_hides_overflow", st({"a": entry(shape=(0, 1 << 62, 1 << 62), offsets=(0, 0))}, b""))

# ---- pickles ----
P2 = b"\x80\x02"


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


put("pickle", "empty", b"")
put("pickle", "no_stop", P2 + b"K\x01")
put("pickle", "two_values", P2 + b"K\x01K\x02.")
put("pickle", "stack_underflow", P2 + b"\x86.")
put("pickle", "no_mark", P2 + b"K\x01t.")
put("pickle", "pop_below_mark", P2 + b"K\x01(\x85.")
put("pickle", "memo_never_stored", P2 + b"j\xff\xff\xff\xff.")
put("pickle", "list_contains_itself", P2 + b"]q\x00h\x00a.")
put("pickle", "cycle_of_two", P2 + b"]q\x00]q\x01h\x00aah\x01h\x00a0.")
put("pickle", "cycle_through_tuple", P2 + b"]q\x00h\x00\x85a.")
put("pickle", "deep_lists", P2 + b"]" * 3000 + b"a" * 2999 + b".")
put("pickle", "deep_unfinished", P2 + b"]" * 20000)
put("pickle", "deep_tuples", P2 + b")" + b"\x85" * 20000 + b".")
put("pickle", "string_longer_than_file", P2 + b"X\xff\xff\xff\xffabc.")
put("pickle", "bytes8_longer_than_file", b"\x80\x04\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"abc.")
put("pickle", "negative_binstring", P2 + b"T" + struct.pack("<i", -5) + b"abc.")
put("pickle", "long_of_100_bytes", P2 + b"\x8a\x64" + b"\x01" * 100 + b".")
put("pickle", "unknown_opcode", P2 + b"\xfe.")
for name, program in {  # protocol 0
    "int_of_letters": b"I1x\n.", "int_without_end": b"I12", "float_of_nothing": b"F\n.", "long_too_long": b"L" + b"9" * 40 + b"L\n.",
    "string_unclosed": b"S'abc\n.", "string_escape_cut": b"S'\\x4'\n.", "string_backslash_last": b"S'\\'\n.", "string_hex_over_quote": b"S'\\x4",
    "string_unknown_escape": b"S'\\q'\n.", "unicode_escape_cut": b"V\\u12\n.", "unicode_beyond": b"V\\U00110000\n.", "get_never_put": b"g0\n.",
    "put_negative": b"I1\np-1\n.", "dict_odd": b"(I1\nd.", "list_without_mark": b"l.", "persid": b"P1\n.", "long4_negative": b"\x8b\xff\xff\xff\xff.",
    "float_hex": b"F0x1p4\n.",
}.items():
    put("pickle", "text_" + name, program)
put("pickle", "protocol_6", b"\x80\x06N.")
put("pickle", "system_call", P2 + b"cos\nsystem\n" + text("true") + b"\x85R.")
put("pickle", "eval_by_stack_global", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + b"\x8c\x011" + b"\x85R.")
put("pickle", "global_without_end", P2 + b"cnumpy")
put("pickle", "inst", P2 + b"(ios\nsystem\n.")
put("pickle", "newobj", P2 + b"cnumpy\nndarray\n)\x81.")
put("pickle", "persistent_id", P2 + text("x") + b"Q.")
put("pickle", "torch_outside_torch", P2 + b"ctorch._utils\n_rebuild_tensor_v2\n)R.")
put("pickle", "call_of_a_string", P2 + text("x") + b")R.")
put("pickle", "dict_key_is_a_list", P2 + b"}]K\x01s.")
put("pickle", "odd_items", P2 + b"}(K\x01u.")
put("pickle", "append_to_dict", P2 + b"}K\x01a.")
put("pickle", "build_on_a_list", P2 + b"]}b.")
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text("b") + b"\x87R"
DTYPE = b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R" + b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
put("pickle", "array_never_filled", P2 + RECONSTRUCT + b".")
put("pickle", "array_never_filled_in_list", P2 + b"]" + RECONSTRUCT + b"a.")
put("pickle", "array_shape_huge", P2 + RECONSTRUCT + b"(K\x01" + b"\x8a\x08" + struct.pack("<q", 1 << 61) + b"\x85" + DTYPE + b"\x89" + text("12345678") + b"tb.")
put("pickle", "array_shape_negative", P2 + RECONSTRUCT + b"(K\x01" + b"J\xff\xff\xff\xff" + b"\x85" + DTYPE + b"\x89" + text("12345678") + b"tb.")
put("pickle", "array_bytes_short", P2 + RECONSTRUCT + b"(K\x01" + b"K\x02\x85" + DTYPE + b"\x89" + text("12345678") + b"tb.")
put("pickle", "object_dtype", P2 + b"cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R.")
put("pickle", "not_latin1", P2 + b"c_codecs\nencode\n" + text("\u4e00") + text("latin1") + b"\x86R.")
put("pickle", "encode_again_and_again", P2 + b"c_codecs\nencode\nq\x00" + text("x" * 3000) + text("latin1") + b"\x86q\x01" + b"](" + b"h\x00h\x01R" * 3000 + b"e.")
shared = b"]q\x00"
for level in range(1, 40):  # 2^39 paths through 40 lists
    shared += b"](h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"eq" + bytes([level])
put("pickle", "two_to_the_39_paths", P2 + b"(" + shared + b"t.")

# ---- torch.save ----
def tensor(numel=4, offset=b"K\x00", shape=b"K\x04\x85", stride=b"K\x01\x85", key="0", kind=b"FloatStorage"):
    n = b"\x8a\x08" + struct.pack("<q", numel)
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + n + b"tQ"
            + offset + shape + stride + b"\x89ccollections\nOrderedDict\n)RtR")


def archive(program, records=None, edit=lambda z: None, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), P2 + program + b".", method)
        for name, data in (records if records is not None else {"archive/data/0": bytes(16)}).items():
            z.writestr(zipfile.ZipInfo(name), data, method)
        edit(z)
    return bytearray(out.getvalue())


def long1(v):
    return b"\x8a\x08" + struct.pack("<q", v)


good = archive(tensor())
put("torch_file", "empty", b"")
put("torch_file", "html", b"<!DOCTYPE html><html>404</html>")
put("torch_file", "zip_truncated", bytes(good[:-30]))
put("torch_file", "zip_only_end_record", bytes(good[-22:]))
put("torch_file", "no_data_pkl", bytes(archive(tensor())).replace(b"data.pkl", b"date.pkl"))
put("torch_file", "storage_missing", bytes(archive(tensor(key="7"))))
put("torch_file", "storage_shorter_than_announced", bytes(archive(tensor(numel=400, shape=long1(400) + b"\x85"))))
put("torch_file", "storage_negative", bytes(archive(tensor(numel=-1))))
put("torch_file", "storage_huge", bytes(archive(tensor(numel=1 << 62))))
put("torch_file", "offset_beyond_storage", bytes(archive(tensor(offset=b"K\x01"))))
put("torch_file", "offset_negative", bytes(archive(tensor(offset=b"J\xff\xff\xff\xff"))))
put("torch_file", "offset_overflows", bytes(archive(tensor(offset=long1((1 << 63) - 1)))))
put("torch_file", "stride_negative", bytes(archive(tensor(stride=b"J\xff\xff\xff\xff\x85"))))
put("torch_file", "stride_overflows", bytes(archive(tensor(stride=long1(1 << 62) + b"\x85"))))
put("torch_file", "stride_zero_expanded", bytes(archive(tensor(shape=long1(1 << 40) + b"\x85", stride=b"K\x00\x85"))))
put("torch_file", "shape_negative", bytes(archive(tensor(shape=b"J\xff\xff\xff\xff\x85"))))
put("torch_file", "shape_overflows", bytes(archive(tensor(shape=long1(1 << 62) + long1(4) + b"\x86", stride=b"K\x00K\x00\x86"))))
put("torch_file", "more_axes_than_strides", bytes(archive(tensor(shape=b"K\x02K\x02\x86"))))
put("torch_file", "same_storage_two_types", bytes(archive(tensor() + tensor(kind=b"IntStorage") + b"\x86")))
put("torch_file", "storage_class_called", bytes(archive(b"ctorch\nFloatStorage\n)R")))
put("torch_file", "malicious", bytes(archive(b"cbuiltins\nexec\n" + text("1") + b"\x85R")))
put("torch_file", "big_endian", bytes(archive(tensor(), {"archive/data/0": bytes(16), "archive/byteorder": b"big"})))



def changed(offset, fmt, value, base=None):
    b = bytearray(good if base is None else base)
    struct.pack_into(fmt, b, offset, value)
    return bytes(b)


first_central = good.find(b"PK\x01\x02")
second_central = good.find(b"PK\x01\x02", first_central + 4)
end = good.find(b"PK\x05\x06")
put("torch_file", "crc_wrong", changed(second_central + 16, "<I", 12345))
put("torch_file", "sizes_huge", changed(second_central + 24, "<I", 0xFFFFFFF0))
put("torch_file", "zip64_without_record", changed(second_central + 24, "<I", 0xFFFFFFFF))
put("torch_file", "header_offset_outside", changed(second_central + 42, "<I", 0xFFFFFF00))
put("torch_file", "entries_overlap", changed(second_central + 42, "<I", struct.unpack_from("<I", good, first_central + 42)[0]))
put("torch_file", "method_unknown", changed(second_central + 10, "<H", 99))
put("torch_file", "encrypted", changed(second_central + 8, "<H", 1))
put("torch_file", "directory_offset_outside", changed(end + 16, "<I", 0xFFFFFFF0))
put("torch_file", "directory_count_huge", changed(end + 10, "<H", 60000, changed(end + 8, "<H", 60000)))
put("torch_file", "name_length_huge", changed(second_central + 28, "<H", 65535))
bomb = archive(tensor(numel=1 << 18, shape=long1(1 << 18) + b"\x85"), {"archive/data/0": bytes(1 << 20)}, method=zipfile.ZIP_DEFLATED)
bomb_central = bomb.find(b"PK\x01\x02", bomb.find(b"PK\x01\x02") + 4)
put("torch_file", "inflates_to_less_than_claimed", changed(bomb_central + 24, "<I", 1 << 21, bomb))
put("torch_file", "inflates_to_terabytes", changed(bomb_central + 24, "<I", 0xFFFFFFF0, bomb))

MAGIC = P2 + b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."


def legacy(program, keys, tail, version=b"\x80\x02M\xe9\x03.", machine=P2 + b"}" + text("little_endian") + b"\x88s."):
    return MAGIC + version + machine + P2 + program + b"." + P2 + keys + b"." + tail


KEYS = b"]" + text("0") + b"a"
put("torch_file", "legacy_magic_only", MAGIC)
put("torch_file", "legacy_version", legacy(tensor(), KEYS, struct.pack("<q", 4) + bytes(16), version=b"\x80\x02M\xea\x03."))
put("torch_file", "legacy_big_endian", legacy(tensor(), KEYS, struct.pack("<q", 4) + bytes(16), machine=P2 + b"}" + text("little_endian") + b"\x89s."))
put("torch_file", "legacy_storage_truncated", legacy(tensor(), KEYS, struct.pack("<q", 4) + bytes(15)))
put("torch_file", "legacy_storage_count_differs", legacy(tensor(), KEYS, struct.pack("<q", 5) + bytes(20)))
put("torch_file", "legacy_storage_missing", legacy(tensor(), b"]", b""))
put("torch_file", "legacy_storage_unknown", legacy(tensor(), b"](" + text("0") + text("1") + b"e", struct.pack("<q", 4) + bytes(16) + struct.pack("<q", 0)))
put("torch_file", "legacy_storage_huge", legacy(tensor(numel=1 << 61, shape=long1(1 << 61) + b"\x85"), KEYS, struct.pack("<q", 1 << 61)))
view = tensor().replace(b"tQ", b"(" + text("0") + long1(-1) + long1(4) + b"ttQ")
put("torch_file", "legacy_view_negative", legacy(view, KEYS, struct.pack("<q", 4) + bytes(16)))

# ---- .splat ----
def splat(position=(0, 0, 0), scale=(1, 1, 1), turn=(255, 128, 128, 128)):
    return struct.pack("<6f8B", *position, *scale, 1, 2, 3, 4, *turn)


put("splat_file", "truncated.splat", splat() + splat()[:31])
put("splat_file", "scale_zero.splat", splat() + splat(scale=(1, 0, 1)))
put("splat_file", "scale_negative.splat", splat(scale=(1, 1, -1)))
put("splat_file", "scale_infinite.splat", splat(scale=(float("inf"), 1, 1)))
put("splat_file", "position_nan.splat", splat(position=(0, float("nan"), 0)))
put("splat_file", "no_rotation.splat", splat(turn=(128, 128, 128, 128)))
put("splat_file", "ply.splat", b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n")
put("splat_file", "good.splat", splat() + splat(turn=(128, 0, 128, 128)))

# ---- .spz ----
def spz(count=2, magic=b"NGSP", version=3, degree=1, bits=12, flags=0, size=None):
    body = bytes((20 if version == 3 else 19) * 2 + 18) if size is None else bytes(size)
    return struct.pack("<4sIIBBBB", magic, version, count, degree, bits, flags, 0) + body


packed = gzip.compress(spz(), mtime=0)
put("spz", "empty.spz", b"")
put("spz", "not_gzip.spz", b"NGSP" + bytes(40))
put("spz", "gzip_truncated.spz", packed[:-9])
put("spz", "gzip_wrong_checksum.spz", packed[:-8] + bytes(4) + packed[-4:])
put("spz", "gzip_length_huge.spz", packed[:-4] + b"\xff\xff\xff\xff")
put("spz", "gzip_two_members.spz", packed + packed)
put("spz", "gzip_header_only.spz", packed[:18])
for name, change in {"magic": {"magic": b"PSGN"}, "version_1": {"version": 1}, "version_4": {"version": 4}, "degree_4": {"degree": 4}, "fraction_of_24_bits": {"bits": 24},
                     "extensions": {"flags": 2}, "count_huge": {"count": 0xFFFFFFFF}, "count_small": {"count": 1}, "header_cut": {"size": 0}, "body_cut": {"size": 57}}.items():
    put("spz", name + ".spz", gzip.compress(spz(**change), mtime=0))
put("spz", "good_degree_1.spz", packed)
put("spz", "good_version_2.spz", gzip.compress(spz(version=2), mtime=0))
put("spz", "good_unpacked", spz())

# ---- MATLAB 5 ----
I8, U8, I32, U32, F32, F64, MATRIX, COMPRESSED = 1, 2, 5, 6, 7, 9, 14, 15
CELL, STRUCT, DOUBLE, SINGLE = 1, 2, 6, 7


def element(kind, data, length=None):
    tag = struct.pack("<II", kind, len(data) if length is None else length)
    return tag + data + b"\0" * (-len(data) % 8 if kind != COMPRESSED else 0)


def small(kind, data):
    return struct.pack("<I", len(data) << 16 | kind) + data.ljust(4, b"\0")


def matrix(kind, dims, contents, name="", flags=0):
    return element(MATRIX, element(U32, struct.pack("<II", kind | flags, 0)) + element(I32, struct.pack(f"<{len(dims)}i", *dims)) + element(I8, name.encode()) + contents)


def fields(step=8, **values):
    names = b"".join(n.encode().ljust(8, b"\0") for n in values)
    return matrix(STRUCT, (1, 1), small(I32, struct.pack("<i", step)) + element(I8, names) + b"".join(values.values()))


def layers(*cells, dims=None, kind=CELL):
    return matrix(kind, dims or (1, len(cells)), b"".join(cells), "layers")


def mat(*variables, order=b"IM"):
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1" + order + b"".join(variables)


def conv(kernel, bias):
    return fields(weights=matrix(CELL, (1, 2), kernel + bias))


def packed(variable, cut=0):
    z = zlib.compress(variable)
    return element(COMPRESSED, z[: len(z) - cut])


bias = matrix(SINGLE, (1, 2), element(F32, struct.pack("<2f", 0.5, 1.5)))
kernel = matrix(DOUBLE, (1, 1, 1, 2), small(U8, b"\3\7"))  # as MATLAB stores whole numbers
good = layers(conv(kernel, bias))
put("mat_file", "good_small_integers", mat(good))
put("mat_file", "good_packed", mat(packed(good)))
put("mat_file", "header_only", mat())
put("mat_file", "big_endian", mat(good, order=b"MI"))
put("mat_file", "cut_short", mat(good)[:-20])
put("mat_file", "packed_cut_short", mat(packed(good, 6)))
put("mat_file", "packed_without_checksum", mat(packed(good, 4)))
put("mat_file", "packed_promises_4_gib", mat(packed(struct.pack("<II", MATRIX, 0xFFFFFFF0) + b"\0" * 40)))
put("mat_file", "packed_longer_than_its_tag", mat(packed(good + b"\0" * 8)))
put("mat_file", "element_beyond_its_array", mat(layers(conv(matrix(SINGLE, (1, 2), element(F32, b"\0" * 8, 4096)), bias))))
put("mat_file", "more_elements_than_bytes", mat(layers(conv(matrix(SINGLE, (1, 1 << 30), element(F32, b"\0" * 8)), bias))))
put("mat_file", "sizes_that_wrap", mat(layers(conv(matrix(DOUBLE, (1 << 30, 1 << 30, 1 << 30), element(F64, b"\0" * 8)), bias))))
put("mat_file", "negative_axis", mat(layers(conv(matrix(SINGLE, (1, -2), element(F32, b"\0" * 8)), bias))))
put("mat_file", "five_axes", mat(layers(conv(matrix(SINGLE, (1, 1, 1, 1, 2), element(F32, b"\0" * 8)), bias))))
put("mat_file", "complex", mat(layers(conv(matrix(SINGLE, (1, 2), element(F32, b"\0" * 8) * 2, flags=0x800), bias))))
put("mat_file", "kernel_is_a_cell", mat(layers(conv(matrix(CELL, (1, 1), bias), bias))))
put("mat_file", "layers_is_a_struct", mat(layers(b"", dims=(1, 0), kind=STRUCT)))
put("mat_file", "more_cells_than_bytes", mat(layers(conv(kernel, bias), dims=(1 << 15, 1 << 15))))
put("mat_file", "no_weights", mat(layers(fields(name=bias))))
put("mat_file", "names_without_length", mat(layers(fields(step=0, weights=bias))))
put("mat_file", "names_longer_than_the_list", mat(layers(fields(step=1 << 20, weights=bias))))
put("mat_file", "empty_array_as_layer", mat(layers(element(MATRIX, b""))))
put("mat_file", "small_element_of_9_bytes", mat(struct.pack("<I", 9 << 16 | MATRIX) + b"\0" * 12))
