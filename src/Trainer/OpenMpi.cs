using System.Runtime.InteropServices;

namespace SorsaOrt.Trainer;

/// <summary>The calls of Open MPI that training in several processes needs. Loaded when the first one is made, never in a run of one process.</summary>
/// <remarks>
/// Open MPI's handles are addresses of exported objects (mpi.h: <c>#define MPI_COMM_WORLD OMPI_PREDEFINED_GLOBAL(ompi_communicator_t,
/// ompi_mpi_comm_world)</c>); other implementations use numbers, so this is Open MPI's ABI alone: libmpi.so.40, versions 4 and 5. Errors are fatal there by
/// default: the library tells what failed and ends the whole job, so that no return code needs to be looked at.
/// </remarks>
internal sealed unsafe class OpenMpi
{
    private const int ThreadsOneAtATime = 2; // MPI_THREAD_SERIALIZED
    private const int MaxElements = 1 << 20; // A call's scratch memory grows with its count and is mapped anew each time: 160 MB in one call took six times as long (docs/scale.md).

    private static readonly string[] Names = ["libmpi.so.40", "libmpi.so"];

    private readonly nint _world, _sum, _byte, _float, _double;
    private readonly delegate* unmanaged<void*, void*, int, nint, nint, nint, int> _allReduce;
    private readonly delegate* unmanaged<void*, int, nint, int, nint, int> _broadcast;
    private readonly delegate* unmanaged<nint, int, int> _abort;
    private readonly delegate* unmanaged<int> _finalize;

    private OpenMpi(nint library)
    {
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        _world = Export("ompi_mpi_comm_world");
        _sum = Export("ompi_mpi_op_sum");
        _byte = Export("ompi_mpi_byte");
        _float = Export("ompi_mpi_float");
        _double = Export("ompi_mpi_double");
        _allReduce = (delegate* unmanaged<void*, void*, int, nint, nint, nint, int>)Export("MPI_Allreduce");
        _broadcast = (delegate* unmanaged<void*, int, nint, int, nint, int>)Export("MPI_Bcast");
        _abort = (delegate* unmanaged<nint, int, int>)Export("MPI_Abort");
        _finalize = (delegate* unmanaged<int>)Export("MPI_Finalize");
        var initialize = (delegate* unmanaged<int*, byte***, int, int*, int>)Export("MPI_Init_thread");
        var rank = (delegate* unmanaged<nint, int*, int>)Export("MPI_Comm_rank");
        var size = (delegate* unmanaged<nint, int*, int>)Export("MPI_Comm_size");
        int provided, number, count;
        _ = initialize(null, null, ThreadsOneAtATime, &provided);
        _ = rank(_world, &number);
        _ = size(_world, &count);
        (Rank, Count) = (number, count);
    }

    /// <summary>This process's number, from 0.</summary>
    public int Rank { get; }

    /// <summary>Processes.</summary>
    public int Count { get; }

    /// <summary>Loads the library and joins the job that mpirun started.</summary>
    /// <exception cref="ConfigException">There is no Open MPI.</exception>
    public static OpenMpi Initialize()
    {
        foreach (var name in Names)
        {
            if (!NativeLibrary.TryLoad(name, out var library))
                continue;
            try
            {
                return new OpenMpi(library);
            }
            catch (EntryPointNotFoundException e)
            {
                throw new ConfigException($"mpirun started this process, but '{name}' is not Open MPI's library ({e.Message}); start it with the mpirun of Open MPI 4 or 5.", e);
            }
        }
        throw new ConfigException($"mpirun started this process, but Open MPI's library {Names[0]} cannot be loaded; install it (Debian: apt-get install libopenmpi3), or start one process without mpirun.");
    }

    /// <summary>Replaces the values of every process by their sum over all processes.</summary>
    public void Sum(Span<double> values)
    {
        fixed (double* start = values)
            _ = _allReduce(InPlace, start, values.Length, _double, _sum, _world);
    }

    /// <summary>Replaces the values of every process by their sum over all processes.</summary>
    /// <param name="start">First of <paramref name="count"/> floats.</param>
    /// <param name="count">How many.</param>
    public void Sum(float* start, long count)
    {
        for (long done = 0; done < count; done += MaxElements)
            _ = _allReduce(InPlace, start + done, (int)Math.Min(MaxElements, count - done), _float, _sum, _world);
    }

    /// <summary>Gives every process the bytes of the first.</summary>
    /// <param name="start">First of <paramref name="count"/> bytes.</param>
    /// <param name="count">How many.</param>
    public void Broadcast(byte* start, long count)
    {
        for (long done = 0; done < count; done += MaxElements)
            _ = _broadcast(start + done, (int)Math.Min(MaxElements, count - done), _byte, 0, _world);
    }

    /// <summary>Ends all processes; mpirun gives <paramref name="exitCode"/>.</summary>
    public void Abort(int exitCode) => _ = _abort(_world, exitCode);

    /// <summary>Leaves the job; returns when every process does.</summary>
    public void Leave() => _ = _finalize();

    private static void* InPlace => (void*)1;
}
