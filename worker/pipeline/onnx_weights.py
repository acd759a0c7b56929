"""The weights in Pipecat's file of the Silero model, read without ONNX Runtime, which does not tell them.

An ONNX file is a protobuf message. Of its format only what leads to the weights is described here.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Floats = npt.NDArray[np.float32]

FLOAT = 1  # a tensor's type
# of onnx.proto: messages, their fields, and the numbers of these
ONNX = {
    "Model": {"graph": (7, "Graph")},
    "Graph": {"node": (1, "Node*")},
    "Node": {"output": (2, "string*"), "op_type": (4, "string"), "attribute": (5, "Attribute*")},
    "Attribute": {"name": (1, "string"), "t": (5, "Tensor"), "g": (6, "Graph")},
    "Tensor": {"dims": (1, "int64*"), "data_type": (2, "int32"), "raw_data": (9, "bytes")},
}


def weights_of(branch: str) -> dict[str, Floats]:
    """Those of this branch of the graph, by their names in the network; read-only."""
    attributes = [attribute for node in _model().graph.node for attribute in node.attribute]
    graph = next(attribute.g for attribute in attributes if attribute.name == branch)
    found = {}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == FLOAT:
                values = np.frombuffer(attribute.t.raw_data, dtype="<f4").reshape(attribute.t.dims)
                found[node.output[0].rpartition("__")[2]] = values
    return found


@cache
def _model() -> Any:
    model = _model_type()()
    model.ParseFromString(files("pipecat.audio.vad.data").joinpath("silero_vad.onnx").read_bytes())
    return model


def _model_type() -> Any:
    """A class that reads an ONNX file."""
    file = FileDescriptorProto(name="weights.proto", package="weights", syntax="proto2")
    for name, fields in ONNX.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            described = message.field.add(name=field, number=number)
            many = kind.endswith("*")
            described.label = FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            if kind in ONNX:
                described.type, described.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".weights.{kind}"
            else:
                described.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("weights.Model"))
