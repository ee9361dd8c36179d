namespace SorsaOrt.Ir.Serialization;

/// <summary>Bounds on what a model file may claim. Checked before anything of that size is allocated.</summary>
internal static class FormatLimits
{
    /// <summary>Bytes of a model file: protobuf's own limit, because lengths are 32-bit.</summary>
    public const long ModelFileBytes = int.MaxValue;

    /// <summary>Bytes of a model file that are neither initializers' raw data nor other tensor data.</summary>
    public const long StructureBytes = 128L << 20;

    /// <summary>Bytes of tensor data that end up in managed memory: constants of attributes and subgraphs, typed fields.</summary>
    public const long ManagedDataBytes = 1L << 30;

    /// <summary>Messages of a file, counting every node, attribute, dimension and metadata entry.</summary>
    public const int Messages = 2_000_000;

    /// <summary>Messages inside one another; Google.Protobuf stops at the same depth.</summary>
    public const int MessageDepth = 100;

    /// <summary>Axes of a tensor.</summary>
    public const int Rank = 64;

    /// <summary>Raw data of an initializer from this many bytes on stays in the mapped file.</summary>
    public const int MappedFromBytes = 1024;

    /// <summary>Newest IR version that is read.</summary>
    public const long IrVersion = 13;

    /// <summary>Newest version of the standard operator set that is read.</summary>
    public const long Opset = 30;

    /// <summary>Characters of an external location.</summary>
    public const int LocationCharacters = 1024;

    /// <summary>Symbolic links followed while one path is resolved.</summary>
    public const int SymbolicLinks = 40;
}
