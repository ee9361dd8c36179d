using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace SorsaOrt.Adapters;

/// <summary>Makes OpenBLAS use the processor's vector instructions where its own detection fails.</summary>
/// <remarks>
/// OpenBLAS before 0.3.25 (Debian 12 has 0.3.21) takes an Intel processor younger than itself for a Prescott of 2004 and runs SSE3
/// kernels, 5 to 15 times slower: OpenMathLib/OpenBLAS issue 4267. It reads OPENBLAS_CORETYPE when loaded, from the C environment, which
/// .NET's own SetEnvironmentVariable does not reach. A value the user set is left alone.
/// </remarks>
internal static unsafe partial class OpenBlasCore
{
    private const string Variable = "OPENBLAS_CORETYPE";

    /// <summary>The kernels OpenBLAS chose ("Haswell", "SkylakeX", …); null where the library does not say.</summary>
    public static string? Name(nint library) => NativeLibrary.TryGetExport(library, "openblas_get_corename", out var corename)
        ? Marshal.PtrToStringUTF8((nint)((delegate* unmanaged<byte*>)corename)())
        : null;

    /// <summary>The library itself, or the same file loaded again with the kernels of this processor.</summary>
    public static nint ReloadIfMisdetected(nint library, string file)
    {
        if (!OperatingSystem.IsLinux() || !Fma.IsSupported || Environment.GetEnvironmentVariable(Variable) is not null || Name(library) != "Prescott")
            return library;
        NativeLibrary.Free(library);
        var core = Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported ? "SkylakeX" : "Haswell";
        _ = SetEnvironment(Variable, core, 1);
        var again = NativeLibrary.Load(file, typeof(OpenBlasCore).Assembly, null);
        _ = UnsetEnvironment(Variable);
        return again;
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);

    [LibraryImport("libc", EntryPoint = "unsetenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int UnsetEnvironment(string name);
}
