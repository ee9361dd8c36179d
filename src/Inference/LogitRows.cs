using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace SorsaOrt.Inference;

/// <summary>Rows of a logits tensor [B, S, vocabulary] as floats, whatever type it is stored in.</summary>
internal static class LogitRows
{
    /// <summary>Copies the logits at place b·S + t.</summary>
    /// <param name="logits">A float32, float16 or bfloat16 tensor in host memory.</param>
    /// <param name="place">b·S + t.</param>
    /// <param name="row">Receives the logits [vocabulary].</param>
    public static void Copy(OrtValue logits, long place, Span<float> row)
    {
        int start = checked((int)(place * row.Length));
        switch (logits.GetTensorTypeAndShape().ElementDataType)
        {
            case TensorElementType.Float:
                logits.GetTensorDataAsSpan<float>().Slice(start, row.Length).CopyTo(row);
                break;
            case TensorElementType.Float16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<Float16, Half>(logits.GetTensorDataAsSpan<Float16>().Slice(start, row.Length)), row);
                break;
            case TensorElementType.BFloat16:
                var bits = MemoryMarshal.Cast<BFloat16, ushort>(logits.GetTensorDataAsSpan<BFloat16>().Slice(start, row.Length));
                for (int i = 0; i < row.Length; i++)
                    row[i] = BitConverter.UInt32BitsToSingle((uint)bits[i] << 16);
                break;
            case var other:
                throw new NotSupportedException($"Logits of {other}.");
        }
    }
}
