using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>A block of native memory that values of ONNX Runtime look into: state that lives as long as the engine.</summary>
/// <remarks>Native because a managed array ends at 2³¹ elements and moves unless pinned. 64-byte aligned, zeroed.</remarks>
public sealed unsafe class FlatBuffer<T> : IDisposable where T : unmanaged
{
    private const int Alignment = 64;

    private T* _start;

    /// <summary>A zeroed buffer.</summary>
    /// <param name="length">Elements, at least 0.</param>
    public FlatBuffer(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Length = length;
        ByteLength = checked(length * sizeof(T));
        _start = (T*)NativeMemory.AlignedAlloc((nuint)Math.Max(ByteLength, Alignment), Alignment);
        Clear();
    }

    /// <summary>Frees memory of a buffer that nobody disposed.</summary>
    ~FlatBuffer() => Free();

    /// <summary>Elements.</summary>
    public long Length { get; }

    /// <summary>Bytes.</summary>
    public long ByteLength { get; }

    /// <summary>One element.</summary>
    public ref T this[long index]
    {
        get
        {
            Check(index, 1);
            return ref _start[index];
        }
    }

    /// <summary>Sets every element to 0.</summary>
    public void Clear()
    {
        Check(0, 0);
        NativeMemory.Clear(_start, (nuint)ByteLength);
    }

    /// <summary>The elements of a slice.</summary>
    public Span<T> Slice(long offset, int count)
    {
        Check(offset, count);
        return new Span<T>(_start + offset, count);
    }

    /// <summary>A sink into the buffer, for files that are streamed to it.</summary>
    public FlatSink Sink() => typeof(T) == typeof(float) ? FlatBuffers.Sink((nint)_start, Length) : throw new NotSupportedException("Only floats are stored.");

    /// <summary>A view of the buffer, for files that it is streamed to.</summary>
    public FlatView View() => typeof(T) == typeof(float) ? FlatBuffers.View((nint)_start, Length) : throw new NotSupportedException("Only floats are stored.");

    /// <summary>A tensor over a slice. It does not own the memory: dispose it before the buffer.</summary>
    /// <param name="offset">First element.</param>
    /// <param name="shape">Lengths of its axes; empty for a scalar.</param>
    public OrtValue View(long offset, params long[] shape)
    {
        var count = shape.Aggregate(1L, (product, d) => checked(product * d));
        Check(offset, count);
        return OrtValue.CreateTensorValueWithData(OrtMemoryInfo.DefaultInstance, ElementType, shape, (nint)(_start + offset), checked(count * sizeof(T)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private static TensorElementType ElementType =>
        typeof(T) == typeof(float) ? TensorElementType.Float
        : typeof(T) == typeof(long) ? TensorElementType.Int64
        : throw new NotSupportedException($"No tensors of {typeof(T).Name}.");

    private void Check(long offset, long count)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        if (offset < 0 || count < 0 || offset > Length - count)
            throw new ArgumentOutOfRangeException(nameof(offset), $"{count} elements from {offset} on do not lie in a buffer of {Length}.");
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_start);
        _start = null;
    }
}
